"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (row, place) => row.cells[place].dataset.value ?? row.cells[place].textContent;
  const compare = (a, b) => {
    const missing = (a === "none") - (b === "none");
    return missing || (a - b || a.localeCompare(b, undefined, { numeric: true }));
  };
  const sort = (header, place) => {
    const down = header.getAttribute("aria-sort") === "ascending", sign = down ? -1 : 1;
    const rows = [...body.rows].sort((a, b) => sign * compare(value(a, place), value(b, place)));
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  };
  headers.forEach((header, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(header, place));
    header.append(button);
  });
}
