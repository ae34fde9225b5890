// Small pure helpers for what is shown: elements, links, colours, dates. Text enters the page as text nodes only.

// el makes an element: el("span", {class: "x", title: "y"}, "text", child).
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) {
    if (v !== undefined && v !== null && v !== false) node.setAttribute(k, v === true ? "" : v);
  }
  node.append(...children);
  return node;
}

const LINK = /https?:\/\/[^\s<>"]+/gi;

// linked splits a text into strings and links. Only http and https become links; anything else stays what it is.
export function linked(text) {
  const parts = [];
  let at = 0;
  for (const m of text.matchAll(LINK)) {
    const raw = trimLink(m[0]);
    let url;
    try {
      url = new URL(raw);
    } catch {
      continue;
    }
    if (m.index > at) parts.push(text.slice(at, m.index));
    parts.push(el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, raw));
    at = m.index + raw.length;
  }
  if (at < text.length) parts.push(text.slice(at));
  return parts;
}

// trimLink takes off the punctuation of the sentence around a link; a closing bracket stays where the link opened one.
function trimLink(link) {
  for (;;) {
    const last = link.at(-1);
    const opener = { ")": "(", "]": "[", "}": "{" }[last];
    const closes = opener && link.split(opener).length < link.split(last).length;
    if (!closes && !".,;:!?'*_…".includes(last)) return link;
    link = link.slice(0, -1);
  }
}

const HUES = 12;

// hue gives a name its colour, the same one in every page: FNV-1a over its characters, then murmur's mixing of the bits,
// without which short names that are alike get colours that are alike.
export function hue(name) {
  let h = 0x811c9dc5;
  for (const c of name) h = Math.imul(h ^ c.codePointAt(0), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return "hue-" + ((h ^ (h >>> 16)) >>> 0) % HUES;
}

// initials stands in for a picture: the first letters of up to two words.
export function initials(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const first = (w) => [...w][0];
  if (words.length === 0) return "?";
  return (first(words[0]) + (words.length > 1 ? first(words.at(-1)) : "")).toLocaleUpperCase();
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dateWithYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });

export function timeElement(when) {
  return el("time", { datetime: when.toISOString(), title: full.format(when) }, clock.format(when));
}

export const dayOf = (when) => when.toDateString();

export function dayName(when, now = new Date()) {
  if (dayOf(when) === dayOf(now)) return "Today";
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  if (dayOf(when) === dayOf(yesterday)) return "Yesterday";
  return (when.getFullYear() === now.getFullYear() ? date : dateWithYear).format(when);
}

export const bytes = (text) => new TextEncoder().encode(text).length;

export const plural = (n, one, many) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

export const validRoom = (s) => /^[A-Za-z0-9._-]{1,64}$/.test(s);

// nameProblem says what is wrong with a name, or nothing.
export function nameProblem(name) {
  if (name === "") return "Enter a name.";
  if ([...name].length > 50) return "A name has at most 50 characters.";
  if (/[\u0000-\u001f\u007f]/.test(name)) return "A name has no control characters.";
  return "";
}
