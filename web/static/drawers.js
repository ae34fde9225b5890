// The panels beside the messages. On narrow screens they are drawers: one at a time, closed by Escape, a tap beside it or
// its button; what lies behind is inert, and the focus goes in and comes back. On wide screens the members can be hidden.

const $ = (id) => document.getElementById(id);

export function initDrawers() {
  const chat = $("chat");
  const room = $("room");
  const drawers = [
    { name: "rooms", button: $("show-rooms"), panel: $("rooms-panel"), narrow: matchMedia("(max-width: 700px)") },
    { name: "members", button: $("show-members"), panel: $("members-panel"), narrow: matchMedia("(max-width: 1000px)") },
  ];
  let open = null;

  function label() {
    for (const d of drawers) {
      const shown = d.narrow.matches ? open === d : !chat.classList.contains("hide-" + d.name);
      d.button.setAttribute("aria-expanded", String(shown));
    }
  }

  function close() {
    if (!open) return;
    const { name, button, panel } = open;
    open = null;
    room.inert = false;
    chat.classList.remove("show-" + name);
    label();
    if (panel.contains(document.activeElement)) button.focus();
  }

  for (const d of drawers) {
    d.button.addEventListener("click", () => {
      if (!d.narrow.matches) {
        chat.classList.toggle("hide-" + d.name);
        return label();
      }
      open = d;
      chat.classList.add("show-" + d.name);
      room.inert = true;
      label();
      (d.panel.querySelector("[aria-current]") ?? d.panel.querySelector("button")).focus();
    });
    d.narrow.addEventListener("change", () => {
      close();
      label();
    });
  }
  for (const c of document.querySelectorAll("[data-close]")) c.addEventListener("click", close);
  addEventListener("keydown", (e) => e.key === "Escape" && close());
  label();
  return { close };
}
