// The one <dialog> of a page: opened with what the server sends, emptied when it closes.
//
// <a href="..." data-dialog> and <button data-dialog-url="..."> open it; [data-dialog-close] and the
// event `closeDialog` (HX-Trigger) close it. Emptying takes typed and revealed values out of the page.
"use strict";

{
  const dialog = document.getElementById("dialog");
  let opener = null;

  const open = (element, url) => {
    opener = element;
    htmx.ajax("GET", url, { source: element, target: dialog, swap: "innerHTML" });
  };

  const focusInside = () => {
    const wanted = ["[aria-invalid='true']", "[autofocus]", ".dialog-body :is(input:not([type='hidden'], [type='radio']:not(:checked)), select, textarea)",
      ".dialog-foot .button-primary", ".dialog-foot .button", "[data-dialog-close]"];
    const found = wanted.map((selector) => dialog.querySelector(selector)).find((element) => element);
    if (found) {
      found.focus();
    }
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dialog], [data-dialog-url]");
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
    if (link && plain) {
      event.preventDefault();
      open(link, link.dataset.dialogUrl || link.href);
    } else if (event.target.closest("#dialog [data-dialog-close]")) {
      event.preventDefault();
      dialog.close();
    }
  });

  dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    // An item of a closed menu cannot take the focus; the button of its menu can.
    const back = opener && (opener.closest("details.menu:not([open])")?.querySelector("summary") || opener);
    opener = null;
    // A list that refreshed itself meanwhile has another element of that name, or with that address.
    const again = back && (document.getElementById(back.id) || document.querySelector(`a[data-dialog][href="${back.getAttribute("href")}"]`));
    (back?.isConnected ? back : again)?.focus();
  });

  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (!dialog.contains(event.target) || !dialog.firstElementChild) {
      return;
    }
    const isNew = !dialog.open;
    if (isNew) {
      dialog.showModal();
    }
    if (isNew || !dialog.querySelector(":focus") || dialog.querySelector("[aria-invalid='true']")) {
      focusInside();
    }
  });

  document.body.addEventListener("closeDialog", () => dialog.close());
  window.addEventListener("pagehide", () => dialog.replaceChildren());
}
