// Rows that are selected in a list: the box in the header selects the page, the bar says how many, and a list
// that refreshes itself keeps its selection.
"use strict";

{
  const rowsOf = (place) => [...place.querySelectorAll(".cell-pick > input[form]")];
  const bar = () => document.getElementById("bulk");
  let kept = null;

  const count = () => {
    const form = bar();
    if (!form) {
      return;
    }
    const rows = rowsOf(document);
    const picked = rows.filter((row) => row.checked).length;
    const all = form.elements.all;
    if (all && picked < rows.length) {
      all.checked = false; // every row that matches includes those of this page
    }
    form.querySelector("[data-picked]").textContent = all?.checked ? all.parentElement.textContent.trim() : `${picked} selected`;
    for (const head of document.querySelectorAll("[data-pick-all]")) {
      head.checked = picked > 0 && picked === rows.length;
      head.indeterminate = picked > 0 && picked < rows.length;
    }
  };

  document.addEventListener("change", (event) => {
    const { target } = event;
    if (target.matches("[data-pick-all]")) {
      rowsOf(document).forEach((row) => (row.checked = target.checked));
    } else if (target.form?.id === "bulk" && target.name === "all" && target.checked) {
      rowsOf(document).forEach((row) => (row.checked = true));
    }
    if (target.matches("[data-pick-all]") || target.form?.id === "bulk") {
      count();
    }
  });

  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const rows = event.detail.target ? rowsOf(event.detail.target) : [];
    if (rows.length) {
      kept = { rows: new Set(rows.filter((row) => row.checked).map((row) => row.value)), all: bar()?.elements.all?.checked };
    }
  });

  document.body.addEventListener("htmx:afterSettle", () => {
    if (kept) {
      rowsOf(document).forEach((row) => (row.checked = kept.rows.has(row.value)));
      if (bar()?.elements.all) {
        bar().elements.all.checked = Boolean(kept.all);
      }
      kept = null;
      count();
    }
  });

  window.addEventListener("pageshow", count);
}
