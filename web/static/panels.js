// The lists beside the messages: rooms with their unread counts, and members.

import { el, hue, initials, plural } from "./text.js";

const MOST_MEMBERS = 200;

export class RoomList {
  #rows = new Map(); // name → its row; rows are kept, so that the focus stays where it is

  constructor(list) {
    this.list = list;
  }

  // show takes [{name, current, unread, error}].
  show(rooms) {
    const names = new Set(rooms.map((r) => r.name));
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      row.item.remove();
      this.#rows.delete(name);
    }
    rooms.forEach((r, i) => {
      let row = this.#rows.get(r.name);
      if (!row) {
        row = this.#row(r.name);
        this.#rows.set(r.name, row);
      }
      if (this.list.children[i] !== row.item) this.list.insertBefore(row.item, this.list.children[i] ?? null);
      if (r.current) row.link.setAttribute("aria-current", "page");
      else row.link.removeAttribute("aria-current");
      row.item.classList.toggle("has-unread", r.unread > 0);
      row.badge.hidden = r.unread === 0;
      row.badge.firstChild.textContent = r.unread > 999 ? "999+" : String(r.unread);
      row.item.classList.toggle("broken", r.error !== "");
      row.link.title = r.error || "#" + r.name;
    });
  }

  #row(name) {
    const badge = el("span", { class: "badge" }, "", el("span", { class: "sr" }, " unread"));
    const link = el("a", { href: "#/room/" + name }, el("span", { class: "sign", "aria-hidden": "true" }, "#"));
    link.append(el("span", { class: "label" }, name), badge);
    return { item: el("li", {}, link), link, badge };
  }
}

// showMembers lists who is in a room, the own name first.
export function showMembers(list, note, room, user) {
  const order = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });
  const others = [...(room?.members ?? [])].filter((n) => n !== user).sort(order.compare);
  const names = room?.members.size > 0 ? [user, ...others] : [];
  const shown = names.slice(0, MOST_MEMBERS);
  list.replaceChildren(
    ...shown.map((name) =>
      el(
        "li",
        { class: hue(name) },
        el("span", { class: "avatar small", "aria-hidden": "true" }, initials(name)),
        el("bdi", { class: "label", title: name }, name),
        name === user ? el("span", { class: "you" }, "you") : "",
      ),
    ),
  );
  const more = (room?.count ?? 0) - shown.length;
  note.textContent = names.length === 0 ? "Shown when connected." : more > 0 ? `and ${plural(more, "other", "others")}` : "";
}

// typists turns names into a sentence.
export function typists(names) {
  if (names.length === 0) return "";
  if (names.length === 1) return `${names[0]} is typing…`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing…`;
  return "Several people are typing…";
}
