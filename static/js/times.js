// Times in the reader's zone, and how long ago or ahead they are. The exact UTC moment stays in the title.
"use strict";

{
  // A zone that the person chose wins over the browser's; "" means none was chosen.
  const timeZone = document.documentElement.dataset.timeZone || undefined;
  // Sweden writes 2026-11-18 02:00, which reads the same everywhere.
  const absolute = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "short", timeZone });
  const clock = new Intl.DateTimeFormat("sv-SE", { timeStyle: "short", timeZone }); // data-when="time"
  const units = [["day", 86400, "days"], ["hour", 3600, "hours"], ["minute", 60, "minutes"]];

  const relative = (moment) => {
    const seconds = Math.round((moment - Date.now()) / 1000);
    const size = Math.abs(seconds);
    const unit = units.find(([, length]) => size >= length);
    if (!unit) {
      return seconds > 0 ? "in less than a minute" : "just now";
    }
    const [one, length, many] = unit;
    const count = Math.floor(size / length);
    const text = `${count} ${count === 1 ? one : many}`;
    return seconds > 0 ? `in ${text}` : `${text} ago`;
  };

  const localize = (root) => {
    for (const time of root.querySelectorAll("time[data-when]")) {
      time.textContent = (time.dataset.when === "time" ? clock : absolute).format(new Date(time.dateTime));
    }
  };

  const refresh = () => {
    for (const note of document.querySelectorAll("[data-relative]")) {
      note.textContent = relative(new Date(note.dataset.relative));
    }
  };

  localize(document);
  refresh();
  document.body.addEventListener("htmx:load", (event) => {
    localize(event.target.parentElement || document);
    refresh();
  });
  setInterval(refresh, 20000);
}
