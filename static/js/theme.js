// The theme switch: system, light or dark. A cookie holds it, so the server draws the first paint right.
"use strict";

{
  const root = document.documentElement;
  const choices = document.querySelectorAll("[data-theme-choice]");

  const show = () => {
    const current = root.dataset.theme || "system";
    for (const choice of choices) {
      choice.setAttribute("aria-pressed", String(choice.dataset.themeChoice === current));
    }
  };

  const choose = (theme) => {
    const lasts = theme === "system" ? 0 : 365 * 24 * 3600;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `keyturn_theme=${theme}; Path=/; Max-Age=${lasts}; SameSite=Lax${secure}`;
    if (theme === "system") {
      delete root.dataset.theme;
    } else {
      root.dataset.theme = theme;
    }
    show();
  };

  for (const choice of choices) {
    choice.addEventListener("click", () => choose(choice.dataset.themeChoice));
  }
  // Without script the switch would do nothing: it is hidden until here.
  for (const part of document.querySelectorAll("[data-needs-script]")) {
    part.hidden = false;
  }
  show();
}
