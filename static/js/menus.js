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

  // The menu of a row is made here and read when it is opened: a list would carry one for each row. Without
  // script, the row's name leads to the same actions.
  const add = (root) => {
    for (const cell of root.querySelectorAll("[data-more]")) {
      const name = cell.closest("tr").querySelector(".cell-name > a");
      const menu = document.getElementById("more-menu").content.firstElementChild.cloneNode(true);
      menu.dataset.menu = `${name.pathname}menu/`;
      const button = menu.querySelector("summary");
      button.id = `more-${name.pathname}`;
      button.setAttribute("aria-label", `More for ${name.textContent}`);
      cell.removeAttribute("data-more");
      cell.append(menu);
    }
  };

  const load = async (menu) => {
    if (!menu.dataset.menu) {
      return;
    }
    const items = menu.querySelector(".menu-items");
    items.setAttribute("aria-busy", "true");
    try {
      await htmx.ajax("GET", menu.dataset.menu, { source: menu, target: items, swap: "innerHTML" });
    } catch {
      // Keyturn cannot be reached, which a message says.
    }
    items.removeAttribute("aria-busy");
    if (!items.childElementCount) {
      close(menu, true);
    } else if (menu.open) {
      place(menu);
    }
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
      load(menu);
    },
    true,
  );

  add(document);
  document.body.addEventListener("htmx:load", (event) => add(event.target.parentElement || document));

  // What an icon does is in its label; the mouse sees it too.
  document.addEventListener("mouseover", (event) => {
    const link = event.target.closest(".more[aria-label]:not([title])");
    if (link) {
      link.title = link.getAttribute("aria-label");
    }
  });

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
