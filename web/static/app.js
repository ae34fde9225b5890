// The page: which room is looked at, and what each change of the chat does to what is shown.

import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { initDrawers } from "./drawers.js";
import { RoomList, showMembers, typists } from "./panels.js";
import { isReadKey, readMark, setReadMark, unread } from "./reads.js";
import { showState, toast } from "./notice.js";
import { storage } from "./storage.js";
import { dayOf, hue, initials, nameProblem, plural, validRoom } from "./text.js";
import { Timeline } from "./timeline.js";

const TYPING_SHOWN_MS = 5000;
const $ = (id) => document.getElementById(id);

let chat = null;
let current = null; // the Room that is looked at
let today = dayOf(new Date());
const typing = new Map(); // room → Map of name → when it ends
const roomList = new RoomList($("rooms"));
const drawers = initDrawers();

const timeline = new Timeline(
  { scroller: $("scroller"), log: $("log"), queue: $("queue"), older: $("older"), start: $("start"), jump: $("jump") },
  {
    onOlder: loadOlder,
    onEnd: markRead,
    onRetry: (id) => chat.retry(id),
    onDiscard: (id) => chat.discard(id),
    user: () => chat?.user,
  },
);

const composer = new Composer($("composer"), {
  limit: () => chat?.limits.text_bytes ?? 4096,
  steady: (change) => timeline.steady(change),
  onTyping: () => current && chat.typing(current.name),
  onSend: (text) => {
    chat.send(current.name, text);
    if (!storage.durable) toast("This browser stores nothing: what is not sent is lost when the page closes.");
    timeline.toEnd();
  },
});

// Signing in. The name belongs to the tab, so that two tabs can be two people; the browser remembers the last one.

function savedName() {
  try {
    return sessionStorage.getItem("gochat.name") ?? storage.get("gochat.name") ?? "";
  } catch {
    return storage.get("gochat.name") ?? "";
  }
}

function askName(problem = "") {
  $("chat").hidden = true;
  $("sign-in").hidden = false;
  $("name").value = savedName();
  $("name-problem").textContent = problem;
  $("name").focus();
  document.title = "go-chat";
}

$("sign-in-form").addEventListener("submit", (e) => {
  e.preventDefault();
  const name = $("name").value.trim();
  const problem = nameProblem(name);
  $("name-problem").textContent = problem;
  if (problem) return $("name").focus();
  storage.set("gochat.name", name);
  try {
    sessionStorage.setItem("gochat.name", name);
  } catch {
    // The name then lasts as long as the page.
  }
  begin(name);
});

$("change-name").addEventListener("click", () => {
  const left = chat.outbox.of(chat.name).length;
  const warning = `${plural(left, "message has", "messages have")} not been sent yet. ${left === 1 ? "It goes" : "They go"} out when you are ${chat.name} again. Change the name?`;
  if (left > 0 && !confirm(warning)) return;
  end();
  askName();
});

function begin(name) {
  $("sign-in").hidden = true;
  $("chat").hidden = false;
  $("my-name").textContent = name;
  $("my-avatar").textContent = initials(name);
  $("my-avatar").className = "avatar " + hue(name);
  // What an ended chat still has to tell is for nobody.
  const mine = new Chat({ url: socketURL(), name, tell: (...what) => chat && chat === mine && tell(...what) });
  chat = mine;
  for (const room of storage.get("gochat.rooms") ?? []) if (validRoom(room)) chat.join(room);
  tell("state");
  route();
}

function end() {
  chat.end();
  chat = current = null;
  forget();
  timeline.show(null, null);
}

function socketURL() {
  const url = new URL("ws", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}

// Rooms.

function route() {
  if (!chat) return;
  const asked = /^#\/room\/([^/]+)$/.exec(location.hash)?.[1];
  if (asked && validRoom(asked)) return openRoom(asked);
  const known = [...chat.rooms.keys()];
  const last = storage.get("gochat.room");
  const next = known.includes(last) ? last : (known[0] ?? (storage.get("gochat.rooms") ? null : "lobby"));
  if (next) location.replace("#/room/" + next);
  else openRoom(null);
}

function openRoom(name) {
  drawers.close();
  const known = storage.get("gochat.rooms") ?? [];
  if (name && !known.includes(name)) storage.set("gochat.rooms", [...known, name]);
  if (name) storage.set("gochat.room", name);
  current = name ? chat.join(name) : null;
  chat.viewed = name ?? "";
  $("room").classList.toggle("none", !current);
  $("empty").hidden = current !== null;
  $("room-name").textContent = current ? "#" + name : "go-chat";
  $("start-title").textContent = current ? `This is where #${name} begins.` : "";
  $("text-label").textContent = current ? `Message to #${name}` : "Message";
  $("text").placeholder = current ? `Message #${name}` : "";
  composer.open(name);
  showRoom();
}

// showRoom shows the current room from scratch, with what was unread marked.
function showRoom() {
  forget();
  timeline.show(current, current && readMark(current));
  if (current) timeline.unsent(chat.unsent(current.name));
  showPeople();
  showRooms();
  showTyping();
  loadOlder();
}

$("join-form").addEventListener("submit", (e) => {
  e.preventDefault();
  const name = $("join-room").value.trim().replace(/^#/, "");
  const problem = validRoom(name) ? "" : "A room's name is 1 to 64 of letters, digits, “.”, “_” and “-”.";
  $("join-problem").textContent = problem;
  if (problem) return;
  $("join-room").value = "";
  if (location.hash === "#/room/" + name) drawers.close();
  location.hash = "#/room/" + name;
});

$("leave").addEventListener("click", () => {
  const unsent = chat.unsent(current.name).filter((e) => e.state !== "accepted").length;
  const question = `${plural(unsent, "message", "messages")} to #${current.name} will be discarded unsent. Leave the room?`;
  if (unsent > 0 && !confirm(question)) return;
  storage.set("gochat.rooms", (storage.get("gochat.rooms") ?? []).filter((r) => r !== current.name));
  chat.leave(current.name);
  history.replaceState(null, "", location.pathname + location.search);
  route();
});

// What the chat tells. A busy room tells hundreds of things a second: they are gathered, and shown some sixty times a
// second (four times in a hidden page, whose title still counts).

const due = { events: [], live: false, entries: false, stored: false, people: false, timer: 0 };

function tell(what, room, detail) {
  const here = room !== undefined && room !== null && (room === current || room === current?.name);
  switch (what) {
    case "state":
      if (chat.state.phase === "open" && timeline.problem) timeline.busy(false);
      return showState(chat, { onStopped: stopped });
    case "reset":
      return here ? showRoom() : schedule();
    case "events":
      for (const e of detail.events) typing.get(room.name)?.delete(e.from);
      countOwn(room, detail.events);
      if (here) {
        due.events.push(...detail.events);
        due.live ||= detail.live;
      }
      return schedule();
    case "stored":
      due.stored ||= here;
      return schedule();
    case "outbox":
      due.entries ||= here;
      return schedule();
    case "members":
      if (readMark(room) === null) setReadMark(room, room.head);
      due.people ||= here;
      return schedule();
    case "typing":
      if (!typing.has(room.name)) typing.set(room.name, new Map());
      typing.get(room.name).set(detail.from, Date.now() + TYPING_SHOWN_MS);
      return here && showTyping();
    case "error":
      if (!room) return toast(detail.message);
      if (here && room.error) toast(`#${room.name}: ${room.error}`);
      return schedule();
    case "rooms":
      return schedule();
  }
}

function schedule() {
  due.timer ||= setTimeout(flush, document.hidden ? 250 : 16);
}

// forget drops what was gathered, because all of it is about to be shown anew.
function forget() {
  clearTimeout(due.timer);
  Object.assign(due, { events: [], live: false, entries: false, stored: false, people: false, timer: 0 });
}

function flush() {
  if (!chat) return forget();
  const { events, live, entries, stored, people } = due;
  forget();
  if (events.length > 0) timeline.append(events);
  // After the events, so that a message goes from the queue into the log in one step.
  if (entries && current) timeline.unsent(chat.unsent(current.name));
  if (stored) timeline.stored();
  if (people) showPeople();
  showRooms();
  if (events.length === 0) return;
  if (live) announce(events);
  showTyping();
  loadOlder();
}

function stopped(state) {
  const name = chat.name;
  if (state.code !== 4100 && state.code !== 4101) return;
  end();
  askName(state.message || `The server does not let ${name} in.`);
}

function showRooms() {
  const rooms = [...chat.rooms.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  roomList.show(rooms.map((r) => ({ name: r.name, current: r === current, unread: unread(r), error: r.error })));
  const elsewhere = rooms.filter((r) => r !== current).reduce((n, r) => n + unread(r), 0);
  const total = elsewhere + (current ? unread(current) : 0);
  $("other-unread").hidden = elsewhere === 0;
  document.title = (total > 0 ? `(${total}) ` : "") + (current ? `#${current.name} · go-chat` : "go-chat");
}

function showPeople() {
  showMembers($("members"), $("members-note"), current, chat.user);
  $("member-count").textContent = current?.count ? current.count.toLocaleString() : "–";
}

function showTyping() {
  const names = typing.get(current?.name);
  const now = Date.now();
  for (const [name, until] of names ?? []) if (until <= now) names.delete(name);
  $("typing").textContent = typists([...(names?.keys() ?? [])]);
}

// markRead moves the mark when the end of the room is really before somebody's eyes.
function markRead() {
  if (!current || current.last === null || !timeline.stick) return;
  if (document.visibilityState !== "visible" || !document.hasFocus()) return;
  if (current.last <= (readMark(current) ?? -1)) return;
  setReadMark(current, current.last);
  showRooms();
}

// countOwn keeps own messages from counting as unread.
function countOwn(room, events) {
  for (const e of events) if (e.from === chat.user && readMark(room) === e.seq - 1) setReadMark(room, e.seq);
}

async function loadOlder(asked = false) {
  const room = current;
  if (!room || timeline.loading || !chat.connection?.open || !(asked || timeline.wantsOlder)) return;
  timeline.busy(true);
  try {
    const events = await chat.older(room.name);
    if (room !== current) return;
    flush();
    timeline.busy(false);
    if (events.length > 0) timeline.prepend(events);
    if (timeline.wantsOlder && events.length > 0) loadOlder();
  } catch (err) {
    if (room === current) timeline.busy(false, err.message);
  }
}

function announce(events) {
  const others = events.filter((e) => e.from !== chat.user && e.kind === "message");
  if (others.length === 0) return;
  const spoken = others.length > 3 ? `${others.length} new messages` : others.map((e) => `${e.from}: ${e.text}`).join(". ");
  $("announcer").textContent = spoken;
}

addEventListener("hashchange", route);
addEventListener("focus", markRead);
document.addEventListener("visibilitychange", markRead);
addEventListener("storage", (e) => {
  if (chat && isReadKey(e.key)) showRooms(); // another tab has read
});
$("skip").addEventListener("click", () => $("text").focus());
setInterval(() => {
  if (!chat) return;
  showTyping();
  if (today === dayOf(new Date())) return;
  today = dayOf(new Date());
  showRoom();
}, 1000);

const name = savedName();
if (nameProblem(name)) askName();
else begin(name);
