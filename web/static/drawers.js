// On narrow screens the panels beside the messages are drawers: one at a time, closed by Escape, a tap beside it, or its
// button, and the focus goes in and comes back.

export function initDrawers() {
  const chat = document.getElementById("chat");
  const drawers = [
    { name: "rooms", button: document.getElementById("show-rooms"), panel: document.getElementById("rooms-panel") },
    { name: "members", button: document.getElementById("show-members"), panel: document.getElementById("members-panel") },
  ];
  let open = null;

  function close() {
    if (!open) return;
    const { name, button, panel } = open;
    open = null;
    chat.classList.remove("show-" + name);
    button.setAttribute("aria-expanded", "false");
    if (panel.contains(document.activeElement)) button.focus();
  }

  for (const d of drawers) {
    d.button.addEventListener("click", () => {
      const again = open === d;
      close();
      if (again) return;
      open = d;
      chat.classList.add("show-" + d.name);
      d.button.setAttribute("aria-expanded", "true");
      const target = d.panel.querySelector("[aria-current]") ?? d.panel.querySelector("button");
      target?.focus();
    });
  }
  for (const c of document.querySelectorAll("[data-close]")) c.addEventListener("click", close);
  addEventListener("keydown", (e) => e.key === "Escape" && close());
  return { close };
}
