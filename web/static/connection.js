// One WebSocket at a time, with reconnects. A connection that was lost is tried again after rand(0, min(30 s, 0.5 s · 2ⁿ)),
// or inside the range that the server's bye names: everybody who lost a server at one moment must not come back at one moment.

const PROTOCOL = "chat.v1";
const STABLE_MS = 5000; // a connection that lived so long starts the backoff anew
const OPEN_MS = 15000; // from dialling to welcome
const QUIET_BEATS = 2.5; // a server tells heads every heartbeat to who is in a room; a browser does not show its pings

// stops tells whether a close code asks not to come back.
const stops = (code) => code >= 4100 && code <= 4199;

export class Connection {
  // Options: url, hello (the frame), onFrame(frame), onState(state), listening(): whether heads are due.
  // A state is {phase: "connecting"}, {phase: "open"}, {phase: "waiting", retryAt} or {phase: "stopped", code, message}.
  constructor(options) {
    this.options = options;
    this.state = { phase: "connecting" };
    this.attempt = 0;
    this.socket = null;
    this.bye = null;
    this.timer = 0;
    this.ended = false;
    this.wake = () => this.retryNow();
    this.seen = () => document.visibilityState === "visible" && this.retryNow();
    addEventListener("online", this.wake);
    document.addEventListener("visibilitychange", this.seen);
    this.#dial();
  }

  get open() {
    return this.state.phase === "open";
  }

  // send drops the frame where there is no connection: what must not be lost is in the outbox.
  send(frame) {
    if (!this.open || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  retryNow() {
    if (this.state.phase === "waiting") this.#dial();
  }

  // again starts anew after the server asked to stop, because a person wants to.
  again() {
    if (this.state.phase === "stopped") this.#dial();
  }

  // restart leaves this connection, which behaves wrongly, and dials again after the backoff.
  restart() {
    this.socket?.close();
    this.#lost({ code: 0 });
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    removeEventListener("online", this.wake);
    document.removeEventListener("visibilitychange", this.seen);
    this.#drop()?.close(1000);
  }

  #dial() {
    clearTimeout(this.timer);
    this.bye = null;
    this.#set({ phase: "connecting" });
    const socket = new WebSocket(this.options.url, [PROTOCOL]);
    this.socket = socket;
    this.timer = setTimeout(() => this.restart(), OPEN_MS);
    socket.onopen = () => socket.send(JSON.stringify(this.options.hello));
    socket.onmessage = (e) => this.#receive(e.data);
    socket.onclose = (e) => this.#lost(e);
  }

  #receive(data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return this.restart();
    }
    if (frame.type === "welcome") {
      this.heartbeat = frame.heartbeat_ms || 25000;
      this.openedAt = Date.now();
    }
    if (frame.type === "bye") this.bye = frame;
    if (this.heartbeat && frame.type !== "bye") this.#watch();
    if (frame.type === "welcome") this.#set({ phase: "open" });
    this.options.onFrame(frame);
  }

  // watch gives up a connection that is silent for too long.
  #watch() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (this.options.listening()) this.restart();
      else this.#watch();
    }, this.heartbeat * QUIET_BEATS);
  }

  #drop() {
    const socket = this.socket;
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    this.socket = null;
    return socket;
  }

  #lost({ code }) {
    if (this.ended || !this.socket) return;
    clearTimeout(this.timer);
    this.#drop();
    this.heartbeat = 0;
    const reason = this.bye?.code ?? code;
    if (stops(reason)) {
      this.#set({ phase: "stopped", code: reason, message: this.bye?.message ?? "" });
      return;
    }
    if (this.open && Date.now() - this.openedAt > STABLE_MS) this.attempt = 0;
    const [min, max] = this.bye?.retry_ms ?? [0, Math.min(30000, 500 * 2 ** this.attempt)];
    this.attempt = Math.min(this.attempt + 1, 10);
    const delay = min + Math.random() * (max - min);
    this.timer = setTimeout(() => this.#dial(), delay);
    this.#set({ phase: "waiting", retryAt: Date.now() + delay });
  }

  #set(state) {
    this.state = state;
    this.options.onState(state);
  }
}
