// What this page knows of one room: a dense run of its log, [first, last], and who is there. No network, no DOM.

export class Room {
  constructor(name) {
    this.name = name;
    this.epoch = "";
    this.last = null; // the last applied seq; null: none, and the next event decides where the run begins
    this.head = 0;
    this.stored = 0;
    this.events = [];
    this.begun = false; // events[0] is the first event of the room
    this.members = new Set();
    this.count = 0;
    this.sampled = false; // members are only some of count
    this.joined = false; // on this connection
    this.awaited = ""; // the id of the join that is under way; while set, nothing is known about what comes
    this.stalled = 0; // joins since the last event that was applied
    this.error = "";
  }

  get first() {
    return this.events.length > 0 ? this.events[0].seq : null;
  }

  // position is what a join carries to go on from here.
  position() {
    return this.last === null ? {} : { after: this.last, epoch: this.epoch };
  }

  // welcome takes a joined frame, and tells whether all that was known before is void.
  welcome(frame, user) {
    const fresh = this.last === null || frame.reset === true || (this.epoch !== "" && this.epoch !== frame.epoch);
    if (fresh) {
      this.events = [];
      this.last = frame.head === 0 ? 0 : null;
      this.begun = frame.head === 0;
      this.stored = 0;
    }
    this.epoch = frame.epoch;
    this.head = fresh ? frame.head : Math.max(this.head, frame.head);
    this.stored = Math.max(this.stored, frame.stored);
    this.members = new Set([...(frame.members ?? []), user]);
    this.count = Math.max(frame.count ?? 0, this.members.size);
    this.sampled = this.members.size < this.count;
    this.joined = true;
    this.awaited = "";
    this.error = "";
    return fresh;
  }

  // apply takes live events: those that are last + 1 enter the log, lower ones are dropped, and at a higher one it stops
  // and reports a gap.
  apply(events) {
    const fresh = [];
    if (this.last === null && !this.joined) return { fresh, gap: false };
    for (const e of events) {
      if (this.last === null) this.last = e.seq - 1;
      if (e.seq <= this.last) continue;
      if (e.seq !== this.last + 1) return { fresh, gap: true };
      this.last = e.seq;
      this.head = Math.max(this.head, e.seq);
      if (e.seq === 1) this.begun = true;
      this.events.push(e);
      fresh.push(e);
    }
    if (fresh.length > 0) this.stalled = 0;
    return { fresh, gap: false };
  }

  // prepend takes a page of history that ends just below the first event, and returns what joined the run. The page may
  // overlap; what does not touch the run is left out.
  prepend(page, complete) {
    let end = this.first ?? (this.last ?? 0) + 1;
    const older = [];
    for (const e of page.toReversed()) {
      if (e.seq >= end) continue;
      if (e.seq !== end - 1) break;
      older.unshift(e);
      end = e.seq;
    }
    this.events.unshift(...older);
    if (end === 1 || (complete && older.length === page.length)) this.begun = true;
    return older;
  }

  // trim forgets the oldest events down to keep, and returns how many went.
  trim(keep) {
    const gone = Math.max(0, this.events.length - keep);
    if (gone > 0) {
      this.events.splice(0, gone);
      this.begun = false;
    }
    return gone;
  }

  // presence returns true where the names have become a sample that only another join can make whole: a room with more
  // than a hundred members tells only their count.
  presence(frame) {
    const named = (frame.joined ?? []).concat(frame.left ?? []).length > 0;
    for (const name of frame.joined ?? []) this.members.add(name);
    for (const name of frame.left ?? []) this.members.delete(name);
    this.count = Math.max(frame.count ?? 0, 1);
    if (this.count !== this.members.size) this.sampled = true;
    return this.sampled && named;
  }
}
