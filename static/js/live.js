// What refreshes itself does not disturb its user: nothing moves under an open menu or a
// button that is being pressed, and a table that was scrolled sideways stays so. The next refresh comes soon.
"use strict";

{
  let pressed = null; // where the pointer went down, until its click has been told
  let kept = new Map();

  const isLive = (element) => element?.getAttribute?.("hx-trigger")?.startsWith("every");
  const release = () => setTimeout(() => (pressed = null)); // the click comes after it

  document.addEventListener("pointerdown", (event) => (pressed = event.target), true);
  document.addEventListener("pointerup", release, true);
  document.addEventListener("pointercancel", release, true);

  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const { target, requestConfig } = event.detail;
    if (!isLive(requestConfig.elt)) {
      return;
    }
    if (target.querySelector("details.menu[open]") || target.contains(pressed)) {
      event.detail.shouldSwap = false;
      return;
    }
    const places = [...target.querySelectorAll(".table-scroll[aria-label]")];
    kept = new Map(places.map((place) => [place.getAttribute("aria-label"), place.scrollLeft]));
  });

  document.body.addEventListener("htmx:afterSwap", () => {
    for (const place of document.querySelectorAll(".table-scroll[aria-label]")) {
      place.scrollLeft = kept.get(place.getAttribute("aria-label")) ?? place.scrollLeft;
    }
    kept = new Map();
  });
}
