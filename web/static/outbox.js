// The queue of sends that are not accepted yet. An entry is written down before its first try and keeps its id until the
// server accepts it or refuses it for good, so that a retry can never make a second message.
//
// Each entry is a key of its own in localStorage, and names the tab that sends it: tabs never write each other's entries.
// A tab holds a lock for as long as it lives; entries of a tab whose lock is gone are adopted by another one. Where the
// browser has no locks (plain HTTP from another machine), a page adopts what it finds when it starts, be it of a tab that
// lives: an entry that either of them discards is gone for both. Should two tabs send one entry after all, the server
// answers the second with the first one's seq, since the id is the same.

import { storage } from "./storage.js";
import { uuidv7 } from "./ids.js";

const PREFIX = "gochat.out.";
const tabLock = (tab) => "gochat.tab." + tab;

export class Outbox {
  #tab = uuidv7();
  #entries = new Map(); // id → entry, the ones that this tab sends
  #adopted = false; // without locks, which cannot tell the entries of a tab that lives

  #release; // ends the tab's lock

  constructor() {
    const ended = new Promise((resolve) => (this.#release = resolve));
    navigator.locks?.request(tabLock(this.#tab), () => ended);
  }

  // end leaves the entries to whoever adopts them.
  end() {
    this.#release();
  }

  // add writes a send down and returns its entry.
  add(from, room, text) {
    const entry = { id: uuidv7(), from, room, text, at: Date.now(), tab: this.#tab };
    this.#write(entry);
    return entry;
  }

  // of returns the entries of one sender, oldest first.
  of(from) {
    return [...this.#entries.values()].filter((e) => e.from === from).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  get(id) {
    return this.#entries.get(id);
  }

  // gone tells whether another tab has sent or discarded an entry of this one.
  gone(id) {
    return storage.gone(PREFIX + id);
  }

  // fail keeps an entry that the server refused for good, until a person decides.
  fail(id, code, message) {
    const entry = this.#entries.get(id);
    if (entry) this.#write({ ...entry, failed: { code, message } });
  }

  // retry makes a failed entry ready again. A refused id was never committed and is used again, except one that
  // another message has already.
  retry(id) {
    const { failed, ...entry } = this.#entries.get(id) ?? {};
    if (!failed) return;
    if (failed.code === "id_conflict") {
      this.remove(id);
      entry.id = uuidv7();
    }
    this.#write(entry);
  }

  remove(id) {
    this.#entries.delete(id);
    storage.remove(PREFIX + id);
  }

  // adopt takes over the entries of tabs that are gone, and tells whether there were any. Without locks it does so once.
  async adopt(from) {
    if (!navigator.locks) {
      if (this.#adopted) return false;
      this.#adopted = true;
      return this.#take(from, null);
    }
    return navigator.locks.request("gochat.adopt", async () => {
      const { held } = await navigator.locks.query();
      return this.#take(from, new Set(held.map((l) => l.name)));
    });
  }

  #take(from, alive) {
    let taken = false;
    for (const key of storage.keys(PREFIX)) {
      const entry = storage.get(key);
      if (!entry || entry.from !== from || this.#entries.has(entry.id) || alive?.has(tabLock(entry.tab))) continue;
      this.#write({ ...entry, tab: this.#tab });
      taken = true;
    }
    return taken;
  }

  #write(entry) {
    storage.set(PREFIX + entry.id, entry);
    this.#entries.set(entry.id, entry);
  }
}
