// What the page keeps in this browser. Where the browser refuses (private mode, quota, blocked), the value lives in
// memory for as long as the page does, and `durable` turns false so that the page can say so.

const memory = new Map();
export const storage = { durable: true, get, set, remove, gone, keys };

function get(key) {
  if (memory.has(key)) return memory.get(key);
  try {
    const raw = localStorage.getItem(key);
    return raw === null ? null : JSON.parse(raw);
  } catch {
    return null;
  }
}

function set(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    memory.delete(key);
  } catch {
    storage.durable = false;
    memory.set(key, value);
  }
}

function remove(key) {
  memory.delete(key);
  try {
    localStorage.removeItem(key);
  } catch {
    // Nothing was stored, so nothing is left behind.
  }
}

// gone tells whether a key that was set has been removed, here or by another tab. What the browser does not let us ask
// counts as there.
function gone(key) {
  if (memory.has(key)) return false;
  try {
    return localStorage.getItem(key) === null;
  } catch {
    return false;
  }
}

function keys(prefix) {
  const found = new Set([...memory.keys()].filter((k) => k.startsWith(prefix)));
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const k = localStorage.key(i);
      if (k.startsWith(prefix)) found.add(k);
    }
  } catch {
    // What is in memory is all there is.
  }
  return [...found];
}
