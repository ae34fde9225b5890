// How far this browser's person has read each room, shared by its tabs. A mark counts only in the epoch it was made in.

import { storage } from "./storage.js";

const PREFIX = "gochat.read.";

export function readMark(room) {
  const mark = storage.get(PREFIX + room.name);
  return mark && mark.epoch === room.epoch ? mark.seq : null;
}

export function setReadMark(room, seq) {
  if (seq > (readMark(room) ?? -1)) storage.set(PREFIX + room.name, { epoch: room.epoch, seq });
}

export const isReadKey = (key) => key?.startsWith(PREFIX);

export function unread(room) {
  const mark = readMark(room);
  return mark === null ? 0 : Math.max(0, room.head - mark);
}
