// The state of the connection, and short messages to the person.

const TOAST_MS = 8000;
const $ = (id) => document.getElementById(id);

let ticker = 0;
let toastUntil = 0;
let shown = null; // what showState was last called with
let lost = false; // a connection or a try has failed since the last welcome

// showState shows the connection's state; onStopped is called once when the server asked not to come back.
export function showState(chat, calls) {
  clearInterval(ticker);
  const before = shown?.state;
  const { state } = chat;
  shown = { chat, calls, state };
  $("chat").dataset.link = state.phase;
  $("link-text").textContent = { connecting: "Connecting…", open: "Connected", waiting: "Not connected", stopped: "Stopped" }[state.phase];
  if (state.phase !== "connecting") lost = state.phase === "waiting";
  paint();
  if (state.phase === "waiting") ticker = setInterval(count, 1000);
  if (state.phase === "stopped" && before !== state) calls.onStopped(state);
}

export function toast(text) {
  toastUntil = Date.now() + TOAST_MS;
  set("info", text);
  setTimeout(() => Date.now() >= toastUntil && paint(), TOAST_MS + 50);
}

function paint() {
  const { chat, state } = shown;
  if (lost) {
    set("warn", "Not connected. You can go on writing; it is sent as soon as the server is back.", "Try now", () => chat.connection.retryNow());
    count();
  } else if (state.phase === "stopped") {
    const why = state.message ? `: ${state.message}` : "";
    set("warn", `The server ended this session (${state.code})${why}.`, "Connect again", () => chat.connection.again());
  } else if (state.phase === "connecting") {
    set("slow", "Connecting…");
  } else if (Date.now() >= toastUntil) {
    set("", "");
  }
}

// count tells the seconds to the next try, outside of what a screen reader repeats.
function count() {
  const left = Math.ceil(((shown.state.retryAt ?? 0) - Date.now()) / 1000);
  $("notice-wait").textContent = left > 1 ? `Next try in ${left} s.` : "Trying…";
}

function set(kind, text, action = "", onAction = null) {
  $("notice").dataset.kind = kind;
  if ($("notice-text").textContent !== text) $("notice-text").textContent = text;
  $("notice-wait").textContent = "";
  $("notice-action").hidden = action === "";
  $("notice-action").textContent = action;
  $("notice-action").onclick = onAction;
}
