// A table of the program, drawn as a table.

import { h } from "./dom.js";

/** @param {{ columns: string[], rows: string[][], note?: string }} found */
export function table(found) {
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" },
    h("table", {}, h("thead", {}, h("tr", {}, ...found.columns.map((name) => h("th", {}, name)))),
      h("tbody", {}, ...found.rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell)))))),
    found.note ? h("p", { class: "outcome-note" }, found.note) : null);
}
