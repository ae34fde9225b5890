// The messages of the room that is looked at: the log's events, then what is not in the log yet.

import { dayName, dayOf, el, hue, initials, linked, timeElement } from "./text.js";

const NEAR_PX = 48; // so near to the end, new messages keep the end in view
const OLDER_PX = 600; // so near to the top, older ones are asked for
const GROUP_MS = 5 * 60 * 1000;
const MOST = 600; // while at the end, no more events than this stay …
const KEEP = 400; // … and so many when they were too many

export class Timeline {
  // Parts: scroller, log (ol), queue (ol), older (button), start, jump (button). Calls: onOlder(asked), onEnd(), onRetry(id),
  // onDiscard(id), user().
  constructor(parts, calls) {
    this.parts = parts;
    this.calls = calls;
    this.nodes = new Map(); // seq → the elements of that event
    this.ticks = new Map(); // seq → the tick of an own message that is not known as stored
    this.queued = new Map(); // id → the element of an entry
    this.stick = true; // the end is in view, and stays so
    this.top = 0; // the last known scrollTop
    this.missed = 0;
    parts.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    parts.jump.addEventListener("click", () => this.toEnd());
    parts.older.addEventListener("click", () => calls.onOlder(true));
    const keep = new ResizeObserver(() => this.stick && this.toEnd());
    for (const p of [parts.scroller, parts.log, parts.queue]) keep.observe(p);
  }

  // show begins with another room, or with the same one anew. Events above readTo are marked as new.
  show(room, readTo) {
    this.room = room;
    this.readTo = readTo;
    this.nodes.clear();
    this.ticks.clear();
    this.queued.clear();
    this.parts.log.replaceChildren();
    this.parts.queue.replaceChildren();
    this.loading = false;
    this.problem = "";
    if (!room) return;
    this.#insert(room.events, null);
    this.#top();
    const mark = this.parts.log.querySelector(".unread");
    if (mark && room.events.length > 0) {
      const { scroller } = this.parts; // not scrollIntoView, which may move the page as well
      scroller.scrollTop = this.top = Math.max(0, mark.offsetTop - scroller.clientHeight / 3);
      this.stick = this.#atEnd();
    } else {
      this.stick = true;
    }
    if (this.stick) this.toEnd();
    this.#missed(0);
  }

  append(events) {
    const many = this.stick && this.room.events.length > MOST;
    if (many) {
      for (const e of this.room.events.slice(0, -KEEP)) this.#forget(e.seq);
      this.room.trim(KEEP);
      events = events.filter((e) => e.seq >= this.room.first);
    }
    this.#insert(events, null);
    if (many) this.#refresh(this.room.events[0]);
    this.#top();
    if (this.stick) this.toEnd();
    else this.#missed(this.missed + events.filter((e) => e.from !== this.calls.user()).length);
  }

  prepend(events) {
    const { scroller } = this.parts;
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    const next = this.room.events[events.length];
    this.#insert(events, next ?? null);
    if (next) this.#refresh(next);
    this.#top();
    scroller.scrollTop = scroller.scrollHeight - fromEnd;
  }

  // busy shows that older messages are being fetched, or why they could not be.
  busy(loading, problem = "") {
    this.loading = loading;
    this.problem = problem;
    this.#top();
  }

  stored() {
    for (const [seq, tick] of this.ticks) {
      if (seq > this.room.stored) continue;
      setTick(tick, "stored");
      this.ticks.delete(seq);
    }
  }

  // unsent brings the entries at the end in line with what is not in the log.
  unsent(entries) {
    const wanted = new Set(entries.map((e) => e.id));
    for (const [id, node] of this.queued) {
      if (wanted.has(id)) continue;
      node.remove();
      this.queued.delete(id);
    }
    for (const e of entries) {
      const known = this.queued.get(e.id);
      if (known?.dataset.state === e.state) continue;
      const node = this.#entry(e);
      if (known) known.replaceWith(node);
      else this.parts.queue.append(node);
      this.queued.set(e.id, node);
    }
  }

  toEnd() {
    const { scroller } = this.parts;
    this.stick = true;
    scroller.scrollTop = scroller.scrollHeight;
    this.top = scroller.scrollTop;
    this.#missed(0);
    this.calls.onEnd();
  }

  // steady makes a change that moves the lower edge to and fro; the browser would answer by moving the messages.
  steady(change) {
    const { scroller } = this.parts;
    const top = scroller.scrollTop;
    change();
    if (this.stick) scroller.scrollTop = scroller.scrollHeight;
    else scroller.scrollTop = top;
  }

  // wantsOlder tells whether the top is near or in view and there may be more above.
  get wantsOlder() {
    return this.room && !this.room.begun && !this.loading && !this.problem && this.parts.scroller.scrollTop < OLDER_PX;
  }

  #scrolled() {
    const before = this.stick;
    const { scrollTop } = this.parts.scroller;
    // Only who scrolls up leaves the end. The box may have shrunk since it was scrolled there, by a growing draft or a
    // phone's keyboard, and the observer of sizes has not run yet.
    this.stick = (before && scrollTop >= this.top) || this.#atEnd();
    this.top = scrollTop;
    if (this.stick && !before) {
      this.#missed(0);
      this.calls.onEnd();
    }
    this.parts.jump.hidden = this.stick;
    if (this.wantsOlder) this.calls.onOlder();
  }

  #atEnd() {
    const { scroller } = this.parts;
    return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX;
  }

  #missed(n) {
    this.missed = n;
    this.parts.jump.hidden = this.stick;
    this.parts.jump.lastElementChild.textContent = n > 0 ? `${n} new` : "Newest";
    this.parts.jump.classList.toggle("has-new", n > 0);
  }

  #top() {
    const { older, start } = this.parts;
    const begun = this.room.begun;
    start.hidden = !begun;
    start.classList.toggle("empty", this.room.head === 0);
    const hidden = begun || this.room.first === null;
    if (hidden && document.activeElement === older) this.parts.scroller.focus({ preventScroll: true });
    older.hidden = hidden;
    older.setAttribute("aria-disabled", String(this.loading)); // disabled would lose the focus
    older.textContent = this.loading
      ? "Loading older messages…"
      : this.problem
        ? `${this.problem} Try again`
        : "Load older messages";
  }

  // insert builds events and puts them in front of an event, or at the end.
  #insert(events, before) {
    const fragment = document.createDocumentFragment();
    const all = this.room.events;
    const offset = all.indexOf(events[0]);
    events.forEach((e, i) => fragment.append(...this.#build(e, all[offset + i - 1])));
    const anchor = before && this.nodes.get(before.seq)?.[0];
    this.parts.log.insertBefore(fragment, anchor ?? null);
  }

  // refresh builds one event anew, since what stands above it has changed.
  #refresh(event) {
    const old = this.nodes.get(event.seq) ?? [];
    const next = old.at(-1)?.nextSibling ?? null;
    this.#forget(event.seq);
    const at = this.room.events.indexOf(event);
    for (const node of this.#build(event, this.room.events[at - 1])) this.parts.log.insertBefore(node, next);
  }

  #forget(seq) {
    for (const node of this.nodes.get(seq) ?? []) node.remove();
    this.nodes.delete(seq);
    this.ticks.delete(seq);
  }

  #build(e, previous) {
    const nodes = [];
    const when = new Date(e.sent_at);
    const day = !previous || dayOf(new Date(previous.sent_at)) !== dayOf(when);
    if (day) nodes.push(el("li", { class: "day", role: "separator" }, el("span", {}, dayName(when))));
    const mark = this.readTo !== null && e.seq === this.readTo + 1 && e.from !== this.calls.user();
    if (mark) nodes.push(el("li", { class: "unread", role: "separator" }, el("span", {}, "New messages")));
    if (e.kind === "message") {
      const follows = !day && !mark && sameGroup(previous, e);
      const own = e.from === this.calls.user();
      const node = message(e.from, when, e.text, { follows, own });
      node.dataset.seq = e.seq;
      if (own) {
        const tick = el("span", { class: "tick", role: "img" });
        setTick(tick, e.seq <= this.room.stored ? "stored" : "accepted");
        if (e.seq > this.room.stored) this.ticks.set(e.seq, tick);
        node.querySelector(".line").append(tick);
      }
      nodes.push(node);
    }
    this.nodes.set(e.seq, nodes);
    return nodes;
  }

  #entry(e) {
    const node = message(e.from, new Date(e.at), e.text, { own: true });
    node.dataset.state = e.state;
    node.classList.add("queued");
    const tick = el("span", { class: "tick", role: "img" });
    setTick(tick, e.state);
    node.querySelector(".line").append(tick);
    if (e.state === "failed") {
      const again = el("button", { type: "button", class: "small" }, "Try again");
      again.addEventListener("click", () => this.calls.onRetry(e.id));
      const discard = el("button", { type: "button", class: "small" }, "Discard");
      discard.addEventListener("click", () => this.calls.onDiscard(e.id));
      const reason = el("span", {}, `Not sent: ${e.reason}`);
      node.querySelector(".body").append(el("div", { class: "failure", role: "alert" }, reason, again, discard));
    }
    return node;
  }
}

// sameGroup looks at nothing but the two events, so that a message looks the same however it came to be shown: a group is
// one author within five minutes of the clock.
function sameGroup(a, b) {
  const slot = (e) => Math.floor(new Date(e.sent_at) / GROUP_MS);
  return a.kind === b.kind && a.from === b.from && slot(a) === slot(b);
}

const TICKS = {
  waiting: ["◷", "Waiting to be sent"],
  failed: ["!", "Not sent"],
  accepted: ["✓", "Accepted"],
  stored: ["✓✓", "Stored"],
};

function setTick(tick, state) {
  const [sign, label] = TICKS[state];
  tick.textContent = sign;
  tick.title = label;
  tick.setAttribute("aria-label", label);
  tick.dataset.state = state;
}

function message(from, when, text, { follows = false, own = false }) {
  const node = el("li", { class: "msg" + (follows ? " follows" : "") + (own ? " own" : "") });
  const author = el("bdi", { class: "author" }, from);
  const meta = el("div", { class: "meta" }, author, own ? el("span", { class: "you" }, "you") : "", timeElement(when));
  const body = el("div", { class: "text", dir: "auto" }, ...linked(text));
  node.append(
    el("span", { class: "avatar", "aria-hidden": "true" }, initials(from)),
    el("div", { class: "body" }, meta, el("div", { class: "line" }, body)),
  );
  node.classList.add(hue(from));
  return node;
}
