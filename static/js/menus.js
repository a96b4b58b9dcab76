// Menus are <details>: they open without script. This closes them and keeps them inside the window.
"use strict";

{
  const openMenus = () => document.querySelectorAll("details.menu[open]");

  // Fixed to the window: inside a table that scrolls, an absolute menu would be cut off.
  const place = (menu) => {
    const items = menu.querySelector(".menu-items");
    const button = menu.querySelector("summary").getBoundingClientRect();
    items.classList.add("is-placed");
    items.style.left = "0"; // near an edge it would be measured narrower than it is elsewhere
    const { width, height } = items.getBoundingClientRect();
    const fromEnd = menu.classList.contains("menu-end");
    const wanted = fromEnd ? button.right - width : button.left;
    const left = Math.max(8, Math.min(wanted, document.documentElement.clientWidth - width - 8));
    const fits = button.bottom + 4 + height <= window.innerHeight - 8;
    const top = fits ? button.bottom + 4 : Math.max(8, button.top - 4 - height);
    items.style.left = `${left}px`;
    items.style.top = `${top}px`;
  };

  const close = (menu, givesFocusBack) => {
    menu.open = false;
    if (givesFocusBack) {
      menu.querySelector("summary").focus();
    }
  };

  // `toggle` does not bubble, so it is caught on its way down.
  document.addEventListener(
    "toggle",
    (event) => {
      const menu = event.target;
      if (!(menu instanceof HTMLDetailsElement) || !menu.matches(".menu[open]")) {
        return;
      }
      for (const other of openMenus()) {
        if (other !== menu && !other.contains(menu)) {
          close(other, false);
        }
      }
      place(menu);
    },
    true,
  );

  document.addEventListener("click", (event) => {
    for (const menu of openMenus()) {
      const item = event.target.closest("a, button");
      const chosen = item && menu.contains(item) && !item.hasAttribute("aria-pressed");
      if (chosen || !menu.contains(event.target)) {
        close(menu, false);
      }
    }
  });

  document.addEventListener("focusin", (event) => {
    for (const menu of openMenus()) {
      if (!menu.contains(event.target)) {
        close(menu, false);
      }
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") {
      return;
    }
    for (const menu of openMenus()) {
      event.preventDefault();
      close(menu, true);
    }
  });

  const closeAll = () => openMenus().forEach((menu) => close(menu, false));
  window.addEventListener("resize", closeAll);
  window.addEventListener("scroll", (event) => {
    if (!(event.target instanceof Element && event.target.closest(".menu-items"))) {
      closeAll();
    }
  }, { capture: true, passive: true });
}
