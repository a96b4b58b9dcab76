// What a form does by itself: parts that depend on another field, values shown on request.
//
// data-shown-if="name=value" shows a part while that field has that value ("name=" while it has none, "name=a|b"
// while it has one of two); what is hidden is disabled too, so it does not travel. data-add-row adds a row, empty,
// to the data-rows before it. data-with-script marks what would do nothing without script.
// data-own-zone proposes the browser's time zone to a user who chose none.
"use strict";

{
  const controls = "input, select, textarea, button";

  // Also of what is disabled, which a FormData leaves out: a part that is hidden keeps its choices.
  const valueOf = (form, name) => {
    const isChosen = (control) => !["radio", "checkbox"].includes(control.type) || control.checked;
    return [...form.elements].find((control) => control.name === name && isChosen(control))?.value || "";
  };

  const depend = (form) => {
    for (const part of form.querySelectorAll("[data-shown-if]")) {
      const [name, wanted] = part.dataset.shownIf.split("=");
      part.hidden = !wanted.split("|").includes(valueOf(form, name));
    }
    // A part may lie within another: what is hidden by either does not travel.
    for (const part of form.querySelectorAll("[data-shown-if]")) {
      part.querySelectorAll(controls).forEach((control) => (control.disabled = !!control.closest("[data-shown-if][hidden]")));
    }
  };

  const prepare = () => {
    document.querySelectorAll("[data-with-script]").forEach((part) => (part.hidden = false));
    document.querySelectorAll("form:has([data-shown-if])").forEach(depend);
    for (const zone of document.querySelectorAll("[data-own-zone]")) {
      if (!document.documentElement.dataset.timeZone) {
        zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || zone.value;
      }
      zone.removeAttribute("data-own-zone"); // what is typed from now on stays
    }
  };

  // On the way down: whatever asks the server on a change then sends the fields that are shown after it.
  document.addEventListener("change", (event) => event.target.form && depend(event.target.form), true);

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-show-value]");
    if (button) {
      const field = document.getElementById(button.dataset.showValue);
      const shown = field.type === "password";
      field.type = shown ? "text" : "password";
      button.setAttribute("aria-pressed", String(shown));
    }
    const add = event.target.closest("[data-add-row]");
    if (add) {
      const rows = add.closest("fieldset").querySelector("[data-rows]");
      const row = rows.lastElementChild.cloneNode(true);
      rows.append(row);
      row.querySelectorAll("input").forEach((field) => (field.value = ""));
      row.querySelector("input").focus();
    }
  });

  prepare();
  document.body.addEventListener("htmx:load", prepare);
}
