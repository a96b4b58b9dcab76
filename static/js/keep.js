// What is shown once can be kept: data-download-from names the element whose text becomes a file, called
// data-download-as; data-print prints the page. Neither asks the server for the text again.
"use strict";

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-download-from]");
  if (button) {
    const text = document.querySelector(button.dataset.downloadFrom).textContent;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/plain" }));
    link.download = button.dataset.downloadAs;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000); // until then the browser may still be reading it
  } else if (event.target.closest("[data-print]")) {
    window.print();
  }
});
