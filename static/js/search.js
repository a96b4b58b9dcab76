// The search of the top bar as a combobox: / and Ctrl-K go there, arrows choose, Enter opens, Escape closes.
// The focus stays in the field. Without script the field is a form, and its answer a page.
"use strict";

{
  const fields = () => [...document.querySelectorAll("[data-search]")];
  const boxOf = (field) => field.form.querySelector(".search-results");
  const options = (field) => [...boxOf(field).querySelectorAll("[role='option']")];

  const choose = (field, option) => {
    for (const one of options(field)) {
      one.setAttribute("aria-selected", String(one === option));
    }
    if (option) {
      field.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else {
      field.removeAttribute("aria-activedescendant");
    }
  };

  const show = (field, isShown) => {
    boxOf(field).hidden = !isShown;
    field.setAttribute("aria-expanded", String(isShown && options(field).length > 0));
    if (!isShown) {
      choose(field, null);
    }
  };

  const move = (field, step) => {
    const all = options(field);
    const at = all.findIndex((one) => one.getAttribute("aria-selected") === "true");
    const next = at < 0 && step < 0 ? all.length - 1 : (at + step + all.length) % all.length;
    choose(field, all[next]);
  };

  // An answer may come after what was done meanwhile: a choice among the older results, or Escape.
  const chosenBefore = new WeakMap();
  const closed = new WeakSet();

  const prepare = () => {
    for (const field of fields()) {
      field.setAttribute("role", "combobox");
      field.setAttribute("aria-autocomplete", "list");
      field.setAttribute("aria-expanded", "false");
    }
  };

  const goThere = () => {
    const visible = (field) => field.offsetParent !== null && !field.closest("details:not([open])");
    const fold = document.querySelector(".nav-fold");
    if (!fields().some(visible) && fold) {
      fold.open = true;
    }
    const field = fields().find(visible);
    field?.focus({ preventScroll: true }); // a menu closes when something scrolls
    field?.select();
  };

  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest?.("input, textarea, select, [contenteditable]");
    const isSlash = event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey;
    const isK = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey;
    if ((isSlash || isK) && !document.querySelector("dialog[open]")) {
      event.preventDefault();
      goThere();
    }
  });

  document.addEventListener("keydown", (event) => {
    const field = event.target.closest?.("[data-search]");
    if (!field || boxOf(field).hidden) {
      return;
    }
    const chosen = boxOf(field).querySelector("[aria-selected='true']");
    if (["ArrowDown", "ArrowUp"].includes(event.key) && options(field).length) {
      event.preventDefault();
      move(field, event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && chosen) {
      event.preventDefault();
      chosen.click();
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation(); // a menu that holds the field stays open
      closed.add(field);
      show(field, false);
    }
  }, true);

  document.addEventListener("input", (event) => {
    const field = event.target.closest?.("[data-search]");
    if (field) {
      closed.delete(field);
      choose(field, null);
    }
  });

  const searched = (event) => event.target.closest(".bar-search")?.querySelector("[data-search]");

  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const field = searched(event);
    if (field) {
      chosenBefore.set(field, boxOf(field).querySelector("[aria-selected='true']")?.href);
    }
  });

  document.body.addEventListener("htmx:afterSwap", (event) => {
    const field = searched(event);
    if (!field) {
      return;
    }
    const box = boxOf(field);
    const list = box.querySelector("[role='listbox']");
    options(field).forEach((option, number) => (option.id = `${box.id}-${number}`));
    if (list) {
      list.id = `${box.id}-list`;
      field.setAttribute("aria-controls", list.id);
    } else {
      field.removeAttribute("aria-controls");
    }
    show(field, document.activeElement === field && box.childElementCount > 0 && !closed.has(field));
    const chosen = options(field).find((option) => option.href === chosenBefore.get(field));
    if (chosen && !box.hidden) {
      choose(field, chosen);
    }
    const hits = box.querySelectorAll(".search-hit:not(.search-more)").length;
    document.getElementById("announce").textContent = list ? `${hits} results` : box.textContent.trim();
  });

  document.addEventListener("focusin", (event) => {
    for (const field of fields()) {
      show(field, field.form.contains(event.target) && boxOf(field).childElementCount > 0);
    }
  });
  document.addEventListener("click", (event) => {
    for (const field of fields()) {
      if (!field.form.contains(event.target)) {
        show(field, false);
      }
    }
  });

  prepare();
}
