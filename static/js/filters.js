// The filters of a list apply at once: <form data-filters="QUERY">, whose answer takes the place of the rows alone.
// The form itself stays, and with it the focus, an open menu and what is typed. The address is that of the list.
"use strict";

{
  const form = () => document.querySelector("form[data-filters]");
  const query = (search) => `${new URLSearchParams(search)}`;
  let shown = query(form()?.dataset.filters ?? location.search); // what the rows answer

  // As the server writes it into a new page.
  const say = (menu) => {
    const chosen = [...menu.querySelectorAll("input:checked")].map((input) => input.parentElement.textContent.trim());
    const few = chosen.length ? chosen.join(", ") : menu.dataset.every;
    menu.querySelector("[data-chosen]").textContent = chosen.length > 2 ? `${chosen.length} chosen` : few;
  };

  const inputs = (preset) => [["since", preset.dataset.since], ["until", preset.dataset.until]];

  // A named period is a link of its own: it follows what is chosen beside it.
  const follow = () => {
    const here = new URLSearchParams(location.search);
    for (const preset of document.querySelectorAll("[data-since]")) {
      const asked = new URLSearchParams(here);
      ["page", "before", "after"].forEach((name) => asked.delete(name));
      inputs(preset).forEach(([name, date]) => asked.set(name, date));
      preset.href = `?${asked}`;
      const isChosen = inputs(preset).every(([name, date]) => here.get(name) === date);
      preset.removeAttribute("aria-current");
      if (isChosen) {
        preset.setAttribute("aria-current", "true");
      }
    }
  };

  // Not by htmx, which loads the page again for each entry of its own that comes back: with it what was typed
  // into a dialog over the list would be lost, for which that dialog has an entry at the same address.
  const move = (path) => {
    const asked = query(path.split("?")[1]);
    if (asked !== shown) {
      history.pushState(null, "", path);
      shown = asked;
    }
  };

  const fetchIfLeft = () => {
    if (form() && query(location.search) !== shown) {
      location.reload();
    }
  };

  window.addEventListener("popstate", fetchIfLeft);
  fetchIfLeft(); // Back, pressed while this page was still loading, was heard by no script

  document.addEventListener("change", (event) => {
    const menu = event.target.closest("[data-choices]");
    if (menu) {
      say(menu);
    }
  });

  document.addEventListener("click", (event) => {
    const preset = event.target.closest("[data-since]");
    if (preset && form() && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      inputs(preset).forEach(([name, date]) => (form().elements[name].value = date));
      form().requestSubmit();
    }
  });

  document.body.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt === form()) {
      // An address to share names what is chosen, and nothing else.
      const sent = event.detail.formData;
      [...sent.entries()].forEach(([name, text]) => text === "" && sent.delete(name));
    }
  });

  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.requestConfig?.elt === form() && form()) {
      move(event.detail.pathInfo.finalRequestPath);
      for (const input of form().querySelectorAll("[aria-invalid]")) {
        ["aria-invalid", "aria-describedby"].forEach((name) => input.removeAttribute(name));
      }
      for (const note of document.querySelectorAll("[data-problem-of]")) {
        const input = form().elements[note.dataset.problemOf];
        input.setAttribute("aria-invalid", "true");
        input.setAttribute("aria-describedby", note.id);
      }
      follow();
    }
  });
}
