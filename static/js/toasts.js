// Short messages: HX-Trigger {"toast": {"tone": "ok", "text": "..."}} from the server, and failed requests.
"use strict";

{
  const list = document.getElementById("toasts");
  // Long enough to notice it and to read it twice, slowly.
  const shownFor = (text) => 8000 + 100 * text.length;
  // On the sheet of icons, as console/templatetags/console.py has them.
  const icons = { ok: "circle-check", warning: "triangle-alert", danger: "circle-x" };

  const expire = (toast) => {
    // A warning stays until it is closed; the others wait while someone reads or reaches for them.
    if (toast.matches(".tone-danger, .tone-warning")) {
      return;
    }
    const remove = () => {
      // Nor does it go while its page is behind another one.
      if (document.hidden || toast.matches(":hover, :focus-within")) {
        setTimeout(remove, 2000);
      } else {
        toast.remove();
      }
    };
    setTimeout(remove, shownFor(toast.textContent.trim()));
  };

  const add = (tone, text) => {
    const same = [...list.children].find((toast) => toast.querySelector("p")?.textContent === text);
    if (same || !text) {
      return;
    }
    const toast = document.getElementById("toast").content.firstElementChild.cloneNode(true);
    const shape = icons[tone];
    if (shape) {
      toast.classList.replace("tone-info", `tone-${tone}`);
      toast.querySelector("use").setAttribute("href", `#i-${shape}`);
    }
    toast.querySelector("p").textContent = text;
    list.append(toast);
    expire(toast);
  };

  document.body.addEventListener("toast", (event) => add(event.detail.tone || "ok", event.detail.text));
  document.body.addEventListener("htmx:responseError", () => {
    add("danger", "Keyturn could not answer. Check the current state before you try again.");
  });
  document.body.addEventListener("htmx:sendError", () => {
    add("danger", "Keyturn cannot be reached. Typed values are still here; try again in a moment.");
  });
  list.addEventListener("click", (event) => {
    event.target.closest("[data-toast-close]")?.closest(".toast").remove();
  });
  list.querySelectorAll(".toast").forEach(expire);
}
