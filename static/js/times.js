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

  const near = (moment) => {
    const seconds = Math.round((moment - Date.now()) / 1000);
    const size = Math.abs(seconds);
    const [word, length] = [["d", 86400], ["h", 3600], ["min", 60]].find(([, unit]) => size >= unit) || [];
    if (!word) {
      return seconds > 0 ? "now" : "just now";
    }
    const count = Math.floor(size / length);
    return seconds > 0 ? `in ${count} ${word}` : `${count} ${word} ago`;
  };

  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

  // 14:20 today, 5 Mar 14:20 this year, 5 Mar 2025 otherwise: as `durations.short` says it.
  const short = (moment) => {
    const [day, time] = absolute.format(moment).split(" ");
    const today = absolute.format(new Date());
    if (today.startsWith(day)) {
      return time;
    }
    const [year, month, number] = day.split("-");
    const date = `${Number(number)} ${months[month - 1]}`;
    return today.startsWith(year) ? `${date} ${time}` : `${date} ${year}`;
  };

  const localize = (root) => {
    for (const time of root.querySelectorAll("time[data-when]")) {
      time.textContent = (time.dataset.when === "time" ? clock : absolute).format(new Date(time.dateTime));
    }
    for (const time of root.querySelectorAll("time[data-short]")) {
      time.textContent = short(new Date(time.dateTime));
    }
  };

  const refresh = () => {
    for (const note of document.querySelectorAll("[data-relative]")) {
      note.textContent = relative(new Date(note.dataset.relative));
    }
    for (const time of document.querySelectorAll("time[data-near]")) {
      time.textContent = near(new Date(time.dateTime));
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
