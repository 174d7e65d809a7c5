"use strict";
// Sorts the models of the score table by the column whose heading was pressed; floors stay in their group.
const table = document.querySelector("table.scores");
// Heading → column: those that span both rows of the head come first, then the tasks.
const buttons = [...table.tHead.querySelectorAll("button")];
const value = (row, column) => {
  const shown = row.cells[column].textContent;
  return column ? parseFloat(shown) : shown;
};
const order = (a, b, descending) => {
  if (typeof a === "string") return descending ? b.localeCompare(a) : a.localeCompare(b);
  if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
  return descending ? b - a : a - b;
};
buttons.forEach((button, column) => {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const before = heading.getAttribute("aria-sort");
    const descending = before ? before !== "descending" : column > 0;
    buttons.forEach((other) => other.closest("th").removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("heading"));
      rows.sort((a, b) => order(value(a, column), value(b, column), descending));
      body.append(...rows);
    }
  });
});
