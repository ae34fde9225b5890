// The box that a message is written in. A draft stays with its room while the page lives.

import { bytes, plural } from "./text.js";

const touch = matchMedia("(hover: none) and (pointer: coarse)");

export class Composer {
  #drafts = new Map();
  #room = null;

  // Calls: onSend(text), onTyping(), limit() in bytes, steady(change): makes a change of height without moving what
  // stands above.
  constructor(form, calls) {
    this.form = form;
    this.calls = calls;
    this.box = form.querySelector("textarea");
    this.button = form.querySelector("button[type=submit]");
    this.problem = form.querySelector(".problem");
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.#send();
    });
    this.box.addEventListener("input", () => {
      this.#fit();
      if (this.box.value.trim() !== "") calls.onTyping();
    });
    this.box.addEventListener("keydown", (e) => {
      // A phone's keyboard has no Shift+Enter, so Enter makes a line there and the button sends.
      if (e.key !== "Enter" || e.shiftKey || e.isComposing || touch.matches) return;
      e.preventDefault();
      this.#send();
    });
  }

  // open goes to a room (null: none) and its draft.
  open(room) {
    if (this.#room) this.#drafts.set(this.#room, this.box.value);
    this.#room = room;
    this.form.hidden = room === null;
    this.box.value = this.#drafts.get(room) ?? "";
    this.#fit();
    if (room !== null && !touch.matches) this.box.focus();
  }

  #send() {
    const text = this.box.value.replaceAll("\u0000", "").trim();
    if (text === "" || this.#excess() > 0) return this.box.focus();
    this.box.value = "";
    this.#fit();
    this.box.focus();
    this.calls.onSend(text);
  }

  #excess() {
    return bytes(this.box.value.trim()) - this.calls.limit();
  }

  #fit() {
    this.calls.steady(() => {
      this.box.style.height = "auto";
      this.box.style.height = this.box.scrollHeight + "px";
    });
    const excess = this.#excess();
    this.problem.textContent = excess > 0 ? `Too long: ${plural(excess, "byte", "bytes")} over the limit.` : "";
    this.box.setAttribute("aria-invalid", String(excess > 0));
    this.button.disabled = excess > 0 || this.box.value.trim() === "";
  }
}
