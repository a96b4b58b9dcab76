// The steps of a wizard: one form, a fieldset per step. The server decides which step comes next and sends
// `wizardStep`; what was typed stays in the form. Without script the same form is one page with all steps.
"use strict";

{
  const wizard = () => document.querySelector("form[data-wizard]");
  const part = (form, name) => form.querySelector(`[data-${name}]`);

  const offer = (button, isOffered) => {
    button.hidden = !isOffered;
    button.disabled = !isOffered; // a hidden button would still be the one that Enter presses
  };

  const show = (form, number) => {
    const steps = [...form.querySelectorAll("[data-step]")];
    form.dataset.current = String(number);
    steps.forEach((step, index) => (step.hidden = index + 1 !== number));
    offer(part(form, "previous"), number > 1);
    offer(part(form, "next"), number < steps.length);
    offer(part(form, "ok"), number === steps.length);
    part(form, "next").value = String(number);
    form.querySelector(".dialog-body").scrollTop = 0;
  };

  // The first selector that finds something decides: what is wrong comes before what is first.
  const focusOn = (form, ...selectors) => {
    const step = form.querySelector(`[data-step="${form.dataset.current}"]`);
    const wanted = selectors.map((selector) => step.querySelector(selector)).find((element) => element);
    const found = wanted || form.querySelector(".dialog-foot .button-primary:not([hidden])");
    found.closest("details")?.setAttribute("open", "");
    found.focus();
  };

  // Errors are swapped in beside the fields; say so at the fields too.
  const markErrors = (form) => {
    for (const note of form.querySelectorAll("[data-error-for]")) {
      const control = document.getElementById(note.dataset.errorFor);
      const isWrong = !note.hidden;
      control?.toggleAttribute("aria-invalid", false);
      const others = (control?.getAttribute("aria-describedby") || "").split(" ").filter((id) => id && id !== note.id);
      if (isWrong) {
        control?.setAttribute("aria-invalid", "true");
        others.push(note.id);
      }
      if (others.length) {
        control?.setAttribute("aria-describedby", others.join(" "));
      }
    }
  };

  const start = () => {
    const form = wizard();
    if (form && !form.dataset.current) {
      show(form, 1);
    }
  };

  document.body.addEventListener("wizardStep", (event) => {
    const form = wizard();
    if (form) {
      show(form, event.detail.step);
    }
  });

  document.body.addEventListener("htmx:afterSettle", (event) => {
    const form = wizard();
    // The hidden parts refresh themselves while the user types: only an answer to the form moves the focus.
    if (form && event.detail.requestConfig?.elt === form) {
      markErrors(form);
      focusOn(form, "[aria-invalid='true']", "input:not([type='hidden']):not(:disabled), select, textarea");
    }
  });

  document.addEventListener("click", (event) => {
    const form = event.target.closest("form[data-wizard]");
    if (form && event.target.closest("[data-previous]")) {
      show(form, Number(form.dataset.current) - 1);
      focusOn(form, "input:not([type='hidden']):not(:disabled)");
    }
    const preset = event.target.closest("[data-preset]");
    if (preset) {
      const { period, unit, cron } = preset.closest("form").elements;
      const field = preset.dataset.preset.includes(" ") ? cron : period;
      field.value = preset.dataset.preset;
      unit.value = field === period ? "days" : unit.value;
      field.dispatchEvent(new Event("change", { bubbles: true }));
    }
  });

  // Without an initial value the first rotation makes one: propose it, until the person has decided.
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-wizard]");
    if (form && event.target.name === "rotate_now") {
      form.dataset.decided = "";
    } else if (form && event.target.name === "generate" && !("decided" in form.dataset)) {
      form.elements.rotate_now.checked = event.target.checked;
    }
  });

  start();
  document.body.addEventListener("htmx:load", start);
}
