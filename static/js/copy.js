// Copy buttons: data-copy holds the text, or data-copy-from names the element that shows it. In a list, a name
// with data-copies gets its button here: the page would carry one for each row.
"use strict";

{
  const said = document.getElementById("announce");

  // Browsers offer the clipboard to https and localhost only; selecting the text works everywhere.
  const copyBySelection = (text) => {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    (document.getElementById("dialog").open ? document.getElementById("dialog") : document.body).append(field);
    field.select();
    const worked = document.execCommand("copy");
    field.remove();
    return worked;
  };

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyBySelection(text);
    }
  };

  const button = document.getElementById("copy-button");
  const add = (root) => {
    for (const name of root.querySelectorAll("[data-copies]")) {
      const made = button.content.firstElementChild.cloneNode(true);
      made.dataset.copy = name.textContent;
      name.removeAttribute("data-copies");
      name.after(made);
    }
  };

  add(document);
  document.body.addEventListener("htmx:load", (event) => add(event.target.parentElement || document));

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) {
      return;
    }
    const from = button.dataset.copyFrom && document.querySelector(button.dataset.copyFrom);
    const worked = await copy(from ? from.textContent : button.dataset.copy || "");
    said.textContent = worked ? "Copied" : "This browser does not allow copying here";
    button.classList.toggle("is-done", worked);
    button.focus();
    setTimeout(() => {
      button.classList.remove("is-done");
      said.textContent = "";
    }, 1600);
  });
}
