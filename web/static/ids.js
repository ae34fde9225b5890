// UUIDs of version 7 (RFC 9562), in growing order within this page, so that ids sort as they were made.
// crypto.randomUUID is not used: it is missing where the page is served over plain HTTP from another machine.

let lastMS = 0;
let counter = 0;

export function uuidv7(now = Date.now()) {
  const b = crypto.getRandomValues(new Uint8Array(16));
  if (now > lastMS) {
    lastMS = now;
    counter = b[6] & 0x07; // a random start, with room to grow
  } else if (++counter > 0xfff) {
    lastMS++;
    counter = 0;
  }
  let ms = lastMS;
  for (let i = 5; i >= 0; i--) {
    b[i] = ms % 256;
    ms = Math.floor(ms / 256);
  }
  b[6] = 0x70 | (counter >> 8);
  b[7] = counter & 0xff;
  b[8] = 0x80 | (b[8] & 0x3f);
  const hex = Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
