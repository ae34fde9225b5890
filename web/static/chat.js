// chat.v1 as a client speaks it: rooms kept in step with the server, sends that are retried until they are accepted,
// pages of history. It shows nothing; what changed is told to one observer, tell(what, room, detail):
//
//   state             the connection changed (chat.state)
//   rooms             a room came or went
//   reset    room     everything known of the room is void; its newest events follow
//   events   room     detail {events, live}: these were appended; live: not part of catching up
//   stored   room     room.stored grew
//   outbox   room     chat.unsent(room) changed
//   members  room     who is there changed
//   typing   room     detail {from}
//   error    room     room.error changed, or (without a room) detail {message}

import { Connection } from "./connection.js";
import { Outbox } from "./outbox.js";
import { Room } from "./room.js";

const IN_FLIGHT = 32;
const ANSWER_MS = 15000; // a request without an answer is given up, or sent again with the same id
const HEADS_GRACE_MS = 2000; // events may still be on their way when heads overtake them
const TYPING_MS = 3000;
const KEEP_EVENTS = 400; // in a room that nobody looks at

export class Chat {
  constructor({ url, name, tell }) {
    this.name = name;
    this.user = name;
    this.limits = { text_bytes: 4096 };
    this.tell = tell;
    this.rooms = new Map();
    this.outbox = new Outbox();
    this.accepted = new Map(); // id → entry, accepted, its event not seen yet
    this.flight = new Map(); // id of a send → {room, timer}
    this.pages = new Map(); // id of a request for history → {room, resolve, reject, timer}
    this.requests = 0;
    this.holdUntil = 0; // no sends before, in milliseconds since 1970
    this.refusals = 0;
    this.typed = new Map();
    this.viewed = ""; // the room that is never trimmed here
    this.adopter = setInterval(() => this.#adopt(), 30000);
    this.connection = new Connection({
      url,
      hello: { type: "hello", name, client: "gochat-web" },
      onFrame: (f) => this.#receive(f),
      onState: (s) => this.#state(s),
      listening: () => [...this.rooms.values()].some((r) => r.joined || r.awaited),
    });
    this.#adopt();
  }

  get state() {
    return this.connection?.state ?? { phase: "connecting" };
  }

  end() {
    clearInterval(this.adopter);
    clearTimeout(this.pumpTimer);
    for (const { timer } of this.flight.values()) clearTimeout(timer);
    for (const room of this.rooms.values()) {
      clearTimeout(room.timer);
      clearTimeout(room.headsTimer);
    }
    this.#failPages();
    this.connection.end();
    this.outbox.end();
  }

  join(name) {
    if (this.rooms.has(name)) return this.rooms.get(name);
    const room = new Room(name);
    this.rooms.set(name, room);
    this.#join(room);
    this.tell("rooms");
    return room;
  }

  // leave forgets the room and whatever it has not sent.
  leave(name) {
    const room = this.rooms.get(name);
    if (!room) return;
    for (const e of this.outbox.of(this.name)) if (e.room === name) this.discard(e.id);
    clearTimeout(room.timer);
    clearTimeout(room.headsTimer);
    this.rooms.delete(name);
    if (room.joined || room.awaited) this.connection.send({ type: "leave", room: name });
    this.tell("rooms");
  }

  send(room, text) {
    const entry = this.outbox.add(this.name, room, text);
    this.typed.delete(room);
    this.tell("outbox", room);
    this.#pump();
    return entry;
  }

  // unsent returns what the room's log does not show yet: {id, text, at, state: "waiting" | "accepted" | "failed", reason}.
  unsent(room) {
    const waiting = this.outbox.of(this.name).filter((e) => e.room === room);
    const accepted = [...this.accepted.values()].filter((e) => e.room === room);
    return [
      ...accepted.map((e) => ({ ...e, state: "accepted" })),
      ...waiting.map((e) => ({ ...e, state: e.failed ? "failed" : "waiting", reason: e.failed?.message })),
    ];
  }

  retry(id) {
    const entry = this.outbox.get(id);
    this.outbox.retry(id);
    if (entry) this.tell("outbox", entry.room);
    this.#pump();
  }

  discard(id) {
    const entry = this.outbox.get(id);
    this.#landed(id);
    this.outbox.remove(id);
    if (entry) this.tell("outbox", entry.room);
  }

  // older asks for the page below what the room has, and resolves to the events that were put in front.
  older(name, limit = 50) {
    const room = this.rooms.get(name);
    if (!room || room.first === null || room.begun) return Promise.resolve([]);
    const id = this.#id("h");
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#failPages(id), ANSWER_MS);
      this.pages.set(id, { room, resolve, reject, timer });
      const sent = this.connection.send({ type: "history", id, room: name, before: room.first, limit });
      if (!sent) this.#failPages(id);
    });
  }

  typing(name) {
    const now = Date.now();
    if (now - (this.typed.get(name) ?? 0) < TYPING_MS || !this.rooms.get(name)?.joined) return;
    this.typed.set(name, now);
    this.connection.send({ type: "typing", room: name });
  }

  #state(state) {
    if (state.phase !== "open") {
      for (const { timer } of this.flight.values()) clearTimeout(timer);
      this.flight.clear();
      this.#failPages();
      for (const room of this.rooms.values()) {
        room.joined = false;
        room.awaited = "";
        clearTimeout(room.timer);
      }
    }
    this.tell("state");
  }

  #receive(f) {
    const room = this.rooms.get(f.room);
    switch (f.type) {
      case "welcome":
        this.user = f.user;
        this.limits = { ...this.limits, ...f.limits };
        this.holdUntil = 0;
        for (const r of this.rooms.values()) this.#join(r);
        this.#adopt();
        return this.tell("state");
      case "joined":
        return room && this.#joined(room, f);
      case "events":
        if (f.id) return this.#page(f);
        return room && this.#events(room, f.events);
      case "accepted":
        return this.#accepted(f);
      case "stored":
        if (!room || f.seq <= room.stored) return;
        room.stored = f.seq;
        return this.tell("stored", room);
      case "heads":
        for (const [name, head] of Object.entries(f.rooms ?? {})) this.#head(this.rooms.get(name), head);
        return;
      case "presence":
        if (!room) return;
        if (room.presence(f)) this.#join(room);
        return this.tell("members", room);
      case "typing":
        return room && f.from !== this.user && this.tell("typing", room, { from: f.from });
      case "error":
        return this.#error(f);
    }
  }

  #join(room) {
    clearTimeout(room.timer);
    if (!this.connection?.open || room.awaited) return;
    room.awaited = this.#id("j");
    this.connection.send({ type: "join", id: room.awaited, room: room.name, ...room.position() });
  }

  #joined(room, f) {
    if (f.id !== room.awaited) return;
    if (room.welcome(f, this.user)) {
      for (const [id, e] of this.accepted) if (e.room === room.name) this.accepted.delete(id);
      this.tell("reset", room);
    }
    room.liveFrom = f.head;
    this.tell("members", room);
    this.tell("stored", room);
    this.tell("error", room);
    this.#pump();
  }

  #events(room, events) {
    const { fresh, gap } = room.apply(events ?? []);
    if (gap) this.#rejoin(room);
    if (fresh.length === 0) return;
    let mine = false;
    for (const e of fresh) {
      if (e.from !== this.user) continue;
      mine = this.accepted.delete(e.id) || mine;
      // The event proves the commit, whether or not accepted has come.
      if (this.outbox.get(e.id)?.room === room.name) {
        this.outbox.remove(e.id);
        this.#landed(e.id);
        mine = true;
      }
    }
    this.tell("events", room, { events: fresh, live: fresh[0].seq > (room.liveFrom ?? 0) });
    if (room.name !== this.viewed) room.trim(KEEP_EVENTS);
    if (mine) this.tell("outbox", room.name);
    this.#pump();
  }

  // rejoin waits longer each time that a join brings nothing, so that a server that keeps a gap is not flooded.
  #rejoin(room) {
    if (room.awaited) return;
    clearTimeout(room.timer);
    const wait = room.stalled === 0 ? 0 : Math.min(30000, 500 * 2 ** room.stalled);
    room.stalled++;
    if (wait === 0) return this.#join(room);
    room.timer = setTimeout(() => this.#join(room), wait);
  }

  #head(room, head) {
    if (!room || !room.joined || head <= (room.last ?? 0)) return;
    room.head = Math.max(room.head, head);
    clearTimeout(room.headsTimer);
    room.headsTimer = setTimeout(() => {
      if (room.joined && head > (room.last ?? 0)) this.#rejoin(room);
    }, HEADS_GRACE_MS);
  }

  #accepted(f) {
    const entry = this.outbox.get(f.id);
    this.#landed(f.id);
    this.refusals = 0;
    if (entry) {
      this.outbox.remove(f.id);
      const room = this.rooms.get(f.room);
      if (room && f.seq > (room.last ?? 0)) this.accepted.set(f.id, { ...entry, seq: f.seq });
      this.tell("outbox", f.room);
    }
    this.#pump();
  }

  #error(f) {
    const wait = f.retry_after_ms ?? 1000 + Math.random() * 1000;
    if (this.pages.has(f.id)) return this.#failPages(f.id, f.message);
    const joining = [...this.rooms.values()].find((r) => f.id && r.awaited === f.id);
    if (joining) {
      joining.awaited = "";
      if (f.retry) joining.timer = setTimeout(() => this.#join(joining), wait);
      else joining.error = f.message;
      return this.tell("error", joining);
    }
    const entry = this.outbox.get(f.id);
    if (!entry) return f.id ? undefined : this.tell("error", null, { message: f.message });
    this.#landed(f.id);
    const room = this.rooms.get(entry.room);
    if (f.code === "not_joined" && room) {
      room.joined = false;
      this.#join(room); // and once joined, the same send again
    } else if (f.retry) {
      const backoff = Math.min(30000, 500 * 2 ** this.refusals++) * (0.5 + Math.random() / 2);
      this.holdUntil = Date.now() + (f.retry_after_ms ?? backoff);
    } else {
      this.outbox.fail(f.id, f.code, f.message);
    }
    this.tell("outbox", entry.room);
    this.#pump();
  }

  #page(f) {
    const request = this.pages.get(f.id);
    if (!request) return;
    this.pages.delete(f.id);
    clearTimeout(request.timer);
    const older = request.room.prepend(f.events ?? [], f.complete === true);
    if (older.length === 0 && !request.room.begun) return request.reject(new Error("Older messages are not there yet."));
    request.resolve(older);
  }

  #failPages(only, message = "The server did not answer.") {
    for (const [id, request] of this.pages) {
      if (only && id !== only) continue;
      this.pages.delete(id);
      clearTimeout(request.timer);
      request.reject(new Error(message));
    }
  }

  // pump sends what may be sent: in order, one of a room at a time, so that a refusal in the middle of a queue (a rate
  // limit, a database that is away for a moment) can never let a later message overtake an earlier one.
  #pump() {
    clearTimeout(this.pumpTimer);
    if (!this.connection?.open) return;
    const hold = this.holdUntil - Date.now();
    if (hold > 0) {
      this.pumpTimer = setTimeout(() => this.#pump(), hold);
      return;
    }
    const busy = new Set([...this.flight.values()].map((f) => f.room));
    for (const e of this.outbox.of(this.name)) {
      if (this.flight.size >= IN_FLIGHT) return;
      if (e.failed || busy.has(e.room) || !this.rooms.get(e.room)?.joined) continue;
      if (this.outbox.gone(e.id)) {
        this.discard(e.id);
        continue;
      }
      if (!this.connection.send({ type: "send", id: e.id, room: e.room, text: e.text })) return;
      busy.add(e.room);
      const timer = setTimeout(() => {
        this.#landed(e.id);
        this.#pump();
      }, ANSWER_MS);
      this.flight.set(e.id, { room: e.room, timer });
    }
  }

  #landed(id) {
    clearTimeout(this.flight.get(id)?.timer);
    this.flight.delete(id);
  }

  async #adopt() {
    if (!(await this.outbox.adopt(this.name))) return;
    for (const e of this.outbox.of(this.name)) this.join(e.room);
    for (const name of this.rooms.keys()) this.tell("outbox", name);
    this.#pump();
  }

  #id(prefix) {
    return prefix + ++this.requests;
  }
}
