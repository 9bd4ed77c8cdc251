// The table of a provider's models: capabilities, size, price and last use.

import { h } from "./dom.js";
import { text } from "./text.js";

/** @import { ModelRow } from "./wire.d.ts" */

/**
 * A column: its heading, its cell for a model, and whether it is shown.
 * @typedef {{ title: string, cell: (model: ModelRow) => string, shown: boolean }} Column
 */

/** @param {ModelRow[]} models @param {string} kind */
export function modelTable(models, kind) {
  if (models.length === 0) return h("p", { class: "row-why" }, text.noModelsListed);
  const columns = columnsOf(models, kind).filter((column) => column.shown);
  return h(
    "div",
    { class: "table models-table", tabindex: "0", role: "region", "aria-label": text.models },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", {}, text.model),
          h("th", {}, text.canUse),
          ...columns.map(({ title }) => h("th", { class: "num" }, title)),
        ),
      ),
      h("tbody", {}, ...models.map((model) => line(model, columns))),
    ),
  );
}

/** @param {ModelRow[]} models @param {string} kind @returns {Column[]} */
function columnsOf(models, kind) {
  return [
    { title: text.context, cell: (model) => windowOf(model), shown: true },
    {
      title: text.sizeTitle,
      cell: (model) => (model.size ? text.size(model.size) : ""),
      shown: models.some((model) => model.size),
    },
    {
      title: text.price,
      cell: (model) => priceOf(model),
      shown: kind === "cloud" && models.some((model) => model.input_price !== null),
    },
    { title: text.used, cell: (model) => text.daysAgo(model.used ?? null), shown: true },
  ];
}

/** @param {ModelRow} model @param {Column[]} columns */
function line(model, columns) {
  return h(
    "tr",
    {},
    h("td", { class: "name" }, model.name),
    h("td", {}, h("span", { class: "badges" }, ...badges(model))),
    ...columns.map(({ cell }) => h("td", { class: "num" }, cell(model))),
  );
}

/** The capabilities of a model. @param {ModelRow} model */
export function badges(model) {
  const able = [
    model.vision && text.images,
    model.tools && text.tools,
    model.thinking && text.thinks,
    !model.chats && text.noChat,
  ];
  return able.filter(Boolean).map((word) => h("span", { class: "badge" }, String(word)));
}

/** The window, as in “128k”. @param {ModelRow} model */
export function windowOf(model) {
  if (!model.window) return "";
  const kilo = model.window % 1024 === 0 ? 1024 : 1000;
  return model.window < 1e6
    ? `${Math.round(model.window / kilo)}k`
    : `${Number((model.window / kilo ** 2).toFixed(2))}M`;
}

/** The price in dollars per million tokens of input and output. @param {ModelRow} model */
export function priceOf(model) {
  if (model.input_price === null) return "";
  return model.output_price === null
    ? `$${model.input_price}`
    : `$${model.input_price} / $${model.output_price}`;
}
