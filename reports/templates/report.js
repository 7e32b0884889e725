"use strict";

const words = new Intl.Collator("en", { numeric: true });

// Numbers by value, anything else as words; a cell without a value stays last in either direction.
function compare(a, b, direction) {
  const absent = ("absent" in a.dataset) - ("absent" in b.dataset);
  if (absent) return absent;
  if ("value" in a.dataset) return direction * (a.dataset.value - b.dataset.value);
  return direction * words.compare(a.textContent, b.textContent);
}

function sort(header) {
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = header.closest("table").tBodies[0];
  const column = header.cellIndex;
  const rows = [...body.rows];
  rows.sort((a, b) => compare(a.cells[column], b.cells[column], ascending ? 1 : -1));
  body.append(...rows);
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sort(button.parentElement));
}

const dialog = document.querySelector("dialog");
const frame = dialog.querySelector(".scroll");

// As large as the window allows, but never below the picture's own size: then the frame scrolls.
function enlarge(picture) {
  const image = picture.cloneNode();
  frame.replaceChildren(image);
  dialog.showModal();
  const scale = Math.max(1, Math.min(frame.clientWidth / picture.naturalWidth, frame.clientHeight / picture.naturalHeight));
  image.width = Math.floor(scale * picture.naturalWidth);
  image.height = Math.floor(scale * picture.naturalHeight);
}

for (const button of document.querySelectorAll(".zoom")) {
  button.addEventListener("click", () => enlarge(button.firstElementChild));
}
dialog.addEventListener("click", () => dialog.close());
