// The table: sorted by a click on a heading, best first, then the other way round; what is no number stays below.

function sortable(table) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const first = heading.dataset.better === "higher" ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? second : first;
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
      body.append(...[...body.rows].sort(comparison(column, heading.dataset.better, order === "ascending" ? 1 : -1)));
      say(`Sorted by ${heading.dataset.name}, ${order}`);
    });
  });
}

function comparison(column, better, sign) {
  const key = (row) => {
    const { value } = row.cells[column].dataset;
    if (better === undefined) return value;
    return value === "" ? null : better === "zero" ? Math.abs(value) : Number(value);
  };
  return (first, second) => {
    const [a, b] = [key(first), key(second)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  };
}
