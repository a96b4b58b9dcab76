// The end of a session: a warning a minute before, and signing in again over the page, whose forms stay.
//
// What the page asks for by itself says so, and does not count as activity. Another person
// who signs in gets a new page: nothing that the first one typed stays.
"use strict";

if (document.getElementById("session")) {
  const warning = document.getElementById("session");
  const dialog = document.getElementById("sign-in");
  const ended = document.getElementById("signed-out");
  let endsAt = Date.now() + Number(warning.dataset.seconds) * 1000;
  let asksAt = 60; // seconds before the end at which the server is asked next: another tab may have moved it
  let isOver = false;
  let waiting = null; // what is sent again once it is confirmed who is there

  const isLive = (element) => element?.getAttribute?.("hx-trigger")?.startsWith("every") || element === warning;

  const ask = () => htmx.ajax("GET", warning.dataset.url, { source: warning, target: warning, swap: "none" });

  const signIn = () => {
    warning.close();
    if (!dialog.open) {
      htmx.ajax("GET", dialog.dataset.url, { source: dialog, target: dialog, swap: "innerHTML" });
    }
  };

  const tick = () => {
    const left = Math.ceil((endsAt - Date.now()) / 1000);
    const note = warning.querySelector("[data-left]");
    if (note) { // gone where another person has signed in and the page is about to be reloaded
      note.textContent = String(Math.max(left, 0));
    }
    if (!isOver && left <= asksAt) {
      asksAt = left > 0 ? 0 : left - 10;
      ask();
    }
  };

  document.body.addEventListener("htmx:configRequest", (event) => {
    if (isLive(event.detail.elt)) {
      event.detail.headers["X-Keyturn-Live"] = "1";
    }
  });

  document.body.addEventListener("htmx:afterRequest", (event) => {
    const left = event.detail.xhr.getResponseHeader("X-Session-Seconds");
    if (left === null) {
      return;
    }
    endsAt = Date.now() + Number(left) * 1000;
    if (Number(left) > 60) {
      asksAt = 60;
      warning.close();
    } else if (event.detail.elt === warning && !warning.open && !dialog.open) {
      warning.showModal();
    } else if (warning.contains(event.detail.elt)) {
      warning.close();
    }
  });

  // A refresh fails every second: only the first failure opens the dialog, so that it can be put aside.
  document.body.addEventListener("signedOut", (event) => {
    ended.hidden = false;
    if (!isOver || !isLive(event.target)) {
      isOver = true;
      signIn();
    }
  });

  document.body.addEventListener("signedIn", (event) => {
    if (event.detail.user !== document.documentElement.dataset.user) {
      document.querySelectorAll("dialog").forEach((one) => one.replaceChildren());
      document.querySelectorAll("form").forEach((form) => form.reset());
      document.dispatchEvent(new Event("leaving"));
      location.reload();
      return;
    }
    const token = dialog.querySelector("input[name='csrfmiddlewaretoken']").value;
    document.querySelectorAll("input[name='csrfmiddlewaretoken']").forEach((input) => (input.value = token));
    isOver = false;
    ended.hidden = true;
    dialog.replaceChildren();
    dialog.close();
    htmx.trigger(document.body, "toast", { tone: "ok", text: "Signed in again. Submit the form again." });
  });

  document.body.addEventListener("confirmFirst", (event) => {
    waiting = event.target;
    htmx.ajax("GET", dialog.dataset.confirm, { source: dialog, target: dialog, swap: "innerHTML" });
  });

  document.body.addEventListener("confirmed", () => {
    const again = waiting;
    waiting = null;
    dialog.close();
    if (again?.matches("form")) {
      again.requestSubmit();
    } else {
      again?.click();
    }
  });

  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (dialog.contains(event.target) && dialog.firstElementChild && !dialog.open) {
      dialog.showModal();
      dialog.querySelector("input:not([type='hidden']), [data-passkey], button[type='submit']").focus();
    }
  });

  dialog.addEventListener("close", () => dialog.replaceChildren());
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-sign-in]")) {
      event.preventDefault();
      signIn();
    } else if (event.target.closest("[data-sign-in-close]")) {
      dialog.close();
    }
  });
  setInterval(tick, 1000);
}
