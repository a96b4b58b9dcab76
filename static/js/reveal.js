// A shown value goes away: <div data-expires-in="30" data-expired="..."> with <span data-countdown>.
//
// The element leaves the document, not only the sight, and a sentence takes its place.
"use strict";

{
  const running = new Map();

  const hide = (element) => {
    running.delete(element);
    const note = document.createElement("p");
    note.className = "quiet";
    note.setAttribute("role", "status");
    note.textContent = element.dataset.expired || "The value is hidden again.";
    element.replaceWith(note);
  };

  // By the clock, not by ticks: a tab in the background gets few of them.
  const tick = () => {
    for (const [element, until] of running) {
      const left = Math.ceil((until - Date.now()) / 1000);
      if (!element.isConnected) {
        running.delete(element);
      } else if (left <= 0) {
        hide(element);
      } else {
        element.querySelectorAll("[data-countdown]").forEach((note) => (note.textContent = String(left)));
      }
    }
  };

  const start = () => {
    for (const element of document.querySelectorAll("[data-expires-in]")) {
      if (!running.has(element)) {
        running.set(element, Date.now() + Number(element.dataset.expiresIn) * 1000);
      }
    }
    tick();
  };

  start();
  setInterval(tick, 500);
  document.body.addEventListener("htmx:load", start);
  document.addEventListener("visibilitychange", tick);
  // A page kept by the browser for the Back button must not keep the value.
  window.addEventListener("pagehide", () => [...running.keys()].forEach(hide));
}
