// Draws a table of the program's output.

import { h } from "./dom.js";

const NUMBER = /^[-+$]?[\d.,]*\d?( ?(s|%|ms|kB|MB|GB))?$/;

/** @param {{ columns: string[], rows: string[][], note?: string, ends?: string[] }} found */
export function table(found) {
  const numbers = found.columns.map(
    (name, place) =>
      found.ends?.includes(name) || found.rows.every((row) => NUMBER.test(row[place] ?? "")),
  );
  const align = (/** @type {number} */ place) => ({
    "data-align": numbers[place] ? "end" : undefined,
  });
  return h(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": "Table" },
    h(
      "table",
      {},
      found.columns.some(Boolean)
        ? h(
            "thead",
            {},
            h("tr", {}, ...found.columns.map((name, place) => h("th", align(place), name))),
          )
        : null,
      h(
        "tbody",
        {},
        ...found.rows.map((row) =>
          h("tr", {}, ...row.map((cell, place) => h("td", align(place), cell))),
        ),
      ),
    ),
    found.note ? h("p", { class: "outcome-note" }, found.note) : null,
  );
}
