// What was typed and not submitted is not lost without a question: by Escape, by Back, by a link, by closing the tab.
//
// The forms are those of the dialog and of pages that are a form (.dialog-page). The first input puts an entry
// into the history, so that Back comes here first. For a closed tab the browser has a question of its own.
"use strict";

{
  const dialog = document.getElementById("dialog");
  const question = document.getElementById("discard");
  let isGuarded = false; // the entry is there
  let isGoing = false; // ... and is being taken back, which the browser does later
  let onwards = ""; // the address to open after that; one that is opened before would not be
  let leave = null; // what Discard does
  let focused = null; // goes on with the focus when the user goes on editing

  const place = () => (dialog.open ? dialog : document.querySelector(".dialog-page"));
  const isTyped = (at) => !!at && "typed" in at.dataset && at.querySelector("form") !== null;

  const guard = () => {
    history.pushState(null, "");
    isGuarded = true;
  };

  const forget = (at) => {
    at?.querySelector(".dialog-discard")?.remove();
    delete at?.dataset.typed;
  };

  // The entry is taken back, so that Back does again what it did before.
  const unguard = () => {
    if (isGuarded) {
      isGuarded = false;
      isGoing = true;
      document.documentElement.dataset.going = "";
      history.back();
    }
  };

  const ask = (at, then) => {
    leave = then;
    if (!at.querySelector(".dialog-discard")) {
      focused = document.activeElement;
      (at === dialog ? at : at.querySelector(".dialog-content")).append(question.content.cloneNode(true));
    }
    at.querySelector("[data-keep]").focus();
  };

  const goOn = (at) => {
    at.querySelector(".dialog-discard").remove();
    (focused?.isConnected ? focused : at.querySelector("input:not([type='hidden']), select, textarea"))?.focus();
  };

  const askOrGoOn = (at) => (at.querySelector(".dialog-discard") ? goOn(at) : ask(at, () => at.close()));

  const note = (event) => {
    const at = event.target.closest("#dialog, .dialog-page");
    if (at && !("typed" in at.dataset)) {
      at.dataset.typed = "";
      if (!isGuarded && !isGoing) {
        guard();
      }
    }
  };

  document.addEventListener("input", note);
  document.addEventListener("change", note);

  // Escape is caught as a key too: the browser does not let `cancel` be refused twice in a row.
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented && isTyped(dialog)) {
      event.preventDefault();
      askOrGoOn(dialog);
    }
  });
  dialog.addEventListener("cancel", (event) => {
    if (event.target === dialog && isTyped(dialog)) {
      event.preventDefault();
      askOrGoOn(dialog);
    }
  });

  window.addEventListener("popstate", () => {
    const at = place();
    const isBack = isGuarded;
    isGuarded = isGoing = false;
    delete document.documentElement.dataset.going;
    if (onwards) {
      location.assign(onwards);
      onwards = ""; // the page may be shown again as it is now
      return;
    }
    if (isTyped(at)) {
      guard();
      if (isBack) {
        ask(at, () => (at === dialog ? at.close() : history.go(-2)));
      }
    }
  });

  // On the way down: a link that opens or loads something by itself is not followed before the answer.
  document.addEventListener("click", (event) => {
    const at = place();
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
    const link = event.target.closest("a[href]");
    if (event.target.closest("[data-keep]")) {
      goOn(at);
    } else if (event.target.closest(".dialog-discard [data-discard]")) {
      forget(at);
      leave();
    } else if (link?.closest(".dialog-page .dialog-foot")) {
      forget(at); // Cancel says it
    } else if (link && isPlain && isGoing && !link.matches("[data-dialog], [download], [target]")) {
      event.preventDefault();
      event.stopPropagation();
      onwards = link.href;
    } else if (link && isPlain && at !== dialog && isTyped(at) && !link.matches("[data-dialog], [download], [target]")) {
      event.preventDefault();
      event.stopPropagation();
      ask(at, () => location.assign(link.href));
    }
  }, true);

  // A form that htmx sends is not lost when it is refused; one that the browser sends leaves the page.
  document.addEventListener("submit", (event) => {
    if (!event.defaultPrevented) {
      forget(event.target.closest("#dialog, .dialog-page"));
    }
  });

  // The form has done its work: the entry goes before the next page comes.
  document.body.addEventListener("htmx:beforeOnLoad", (event) => {
    const url = event.detail.xhr.getResponseHeader("HX-Redirect");
    if (url && event.detail.elt.closest("#dialog, .dialog-page")) {
      forget(place());
      if (isGuarded) {
        event.preventDefault();
        onwards = url;
        unguard();
      }
    }
  });
  // At once, not when it has settled: what is shown can be clicked.
  document.body.addEventListener("htmx:afterSwap", () => {
    for (const at of document.querySelectorAll("#dialog[data-typed], .dialog-page[data-typed]")) {
      if (!isTyped(at)) {
        forget(at);
        unguard();
      }
    }
  });

  document.addEventListener("reset", (event) => forget(event.target.closest("#dialog, .dialog-page")));
  dialog.addEventListener("close", () => {
    forget(dialog);
    unguard();
  });

  // Another person has signed in: nothing is asked, and to take the entry back would stop the page from being reloaded.
  document.addEventListener("leaving", () => {
    forget(dialog);
    forget(document.querySelector(".dialog-page"));
    isGuarded = false;
  });

  window.addEventListener("beforeunload", (event) => {
    if (isTyped(place())) {
      event.preventDefault();
    }
  });
}
