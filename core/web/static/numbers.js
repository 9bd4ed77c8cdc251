// The statistics page: tokens, cost, latency and errors by model and day, as in --stats.

import { request } from "./api.js";
import { h, icon } from "./dom.js";
import { table } from "./table.js";

const PERIODS = { 7: "7 days", 30: "30 days", 3660: "All" };
const HEIGHT = 148;
const WIDE = 0.74; // part of a day's room that its bar takes

/** @param {HTMLElement} place */
export async function showNumbers(place) {
  const shown = h("div", {});
  const periods = h(
    "div",
    { class: "segmented", role: "group", "aria-label": "Period" },
    ...Object.entries(PERIODS).map(([days, name]) =>
      h("button", { type: "button", "data-days": days, onclick: () => load(days) }, name),
    ),
  );
  const file = h(
    "a",
    { class: "button", download: "", title: "The figures of each day and model" },
    icon("pull"),
    "CSV",
  );
  place.replaceChildren(
    h(
      "div",
      { class: "sheet-page" },
      h(
        "div",
        { class: "page-head" },
        h("h1", {}, "Numbers"),
        h("span", { class: "spacer" }),
        periods,
        file,
      ),
      shown,
    ),
  );
  /** @param {string} days */
  const load = async (days) => {
    for (const each of periods.children)
      each.setAttribute("aria-pressed", String(each.getAttribute("data-days") === days));
    const found = await request("GET", `/api/numbers?days=${days}`);
    file.setAttribute("href", `/api/numbers.csv?days=${days}`);
    file.hidden = found.days.length === 0;
    if (found.days.length === 0)
      shown.replaceChildren(h("p", { class: "page-lead" }, "No calls in this period."));
    else
      shown.replaceChildren(
        figures(found.figures),
        h(
          "div",
          { class: "charts" },
          chart(found.days),
          bars("Cost by model", "", found.costs),
          bars("Time to first word", "Half to 95 %", found.waits),
          found.failures.rows.length > 0 && section("Failures", found.failures),
          section("Models", found.table),
        ),
      );
  };
  await load("30");
}

/** @param {string} title @param {Parameters<typeof table>[0]} rows */
function section(title, rows) {
  return h(
    "section",
    { class: "chart span" },
    h("div", { class: "chart-head" }, h("h2", {}, title)),
    table(rows),
  );
}

/** @param {{ label: string, value: string, note: string }[]} rows */
function figures(rows) {
  return h(
    "dl",
    { class: "figures" },
    ...rows.map((row) =>
      h(
        "div",
        {},
        h("dt", { class: "figure-label" }, row.label),
        h("dd", { class: "figure-value" }, ...withUnit(row.value)),
        h("dd", { class: "figure-note" }, row.note),
      ),
    ),
  );
}

/** A figure whose unit is smaller. @param {string} value */
function withUnit(value) {
  const [figure, unit] = value.split(" ");
  return unit ? [figure, " ", h("small", {}, unit)] : [figure];
}

/** @param {{ day: string, local: number, cloud: number }[]} days */
function chart(days) {
  const most = Math.max(1, ...days.map((day) => day.local + day.cloud));
  const top = roundedUp(most);
  const [from, to] = [days[0].day, days[days.length - 1].day];
  const label = `Tokens per day, ${from} to ${to}. The most: ${most.toLocaleString("en")}.`;
  const plot = svg("svg", { class: "plot", role: "img", "aria-label": label });
  for (const part of [0, 0.5, 1])
    plot.append(
      svg("line", {
        class: "grid",
        x1: "0",
        x2: "100%",
        y1: HEIGHT - part * 140,
        y2: HEIGHT - part * 140,
      }),
    );
  const step = 100 / days.length;
  days.forEach((day, place) => {
    const bars = svg("g", { class: "bar-group" });
    const title = svg("title", {});
    const [onLocal, onCloud] = [day.local, day.cloud].map((count) => count.toLocaleString("en"));
    title.textContent = `${day.day}: local ${onLocal}, cloud ${onCloud}`;
    const local = (day.local / top) * 140;
    const cloud = (day.cloud / top) * 140;
    const at = { x: `${place * step + step * 0.13}%`, width: `${step * WIDE}%`, rx: "2" };
    bars.append(
      title,
      svg("rect", { class: "b", ...at, y: HEIGHT - local - cloud, height: cloud }),
      svg("rect", { class: "a", ...at, y: HEIGHT - local, height: local }),
    );
    plot.append(bars);
  });
  const middle = Math.floor(days.length / 2);
  if (days.length > 6)
    plot.append(dayMark(days[middle].day, `${(middle + 0.5) * step}%`, "middle"));
  if (days.length > 1) plot.append(dayMark(from, "0", "start"));
  plot.append(dayMark(to, "100%", "end"));
  const axis = svg("svg", { class: "axis", "aria-hidden": "true" });
  for (const part of [0, 0.5, 1]) {
    const mark = svg("text", { x: "0", y: HEIGHT - part * 140 + 4 });
    mark.textContent = new Intl.NumberFormat("en", { notation: "compact" }).format(top * part);
    axis.append(mark);
  }
  return h(
    "section",
    { class: "chart span" },
    h("div", { class: "chart-head" }, h("h2", {}, "Tokens per day"), legend()),
    h("div", { class: "plot-box" }, axis, plot),
  );
}

/** @param {string} day @param {string} x @param {string} anchor */
function dayMark(day, x, anchor) {
  const mark = svg("text", { x, y: HEIGHT + 20, "text-anchor": anchor });
  mark.textContent = new Date(`${day}T12:00`).toLocaleDateString("en-GB", {
    day: "numeric",
    month: "short",
  });
  return mark;
}

/**
 * A bar for each model, with a tick where it starts.
 * @param {string} title
 * @param {string} note what the ends of a bar mean
 * @param {{ name: string, value: string, start: number, end: number }[]} rows
 */
function bars(title, note, rows) {
  if (rows.length === 0) return "";
  return h(
    "section",
    { class: "chart" },
    h(
      "div",
      { class: "chart-head" },
      h("h2", {}, title),
      note && h("p", { class: "legend" }, h("span", {}, swatch("b"), note)),
    ),
    h(
      "ul",
      { class: "bars" },
      ...rows.map((row) =>
        h(
          "li",
          {},
          h("span", { class: "name", title: row.name }, row.name),
          h("span", { class: "value" }, row.value),
          bar(row.start, row.end, note ? "b" : "a"),
        ),
      ),
    ),
  );
}

/** @param {number} start @param {number} end @param {string} kind */
function bar(start, end, kind) {
  const line = svg("svg", { "aria-hidden": "true" });
  const [from, to] = [start * 100, end * 100];
  line.append(
    svg("rect", { class: "track", width: "100%", height: "100%", rx: "4" }),
    svg("rect", { class: kind, x: `${from}%`, width: `${to - from}%`, height: "100%", rx: "4" }),
  );
  if (start > 0)
    line.append(svg("line", { class: "tick", x1: `${from}%`, x2: `${from}%`, y1: "0", y2: "8" }));
  return line;
}

/** The next number that reads well, as does its half. @param {number} count */
export function roundedUp(count) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(count, 2)));
  const found = [1, 2, 3, 4, 5, 6, 8, 10].find((each) => each * unit >= count);
  return Math.max(2, (found ?? 10) * unit);
}

function legend() {
  const entry = (/** @type {string} */ kind, /** @type {string} */ name) => {
    return h("span", {}, swatch(kind), name);
  };
  return h("p", { class: "legend" }, entry("a", "Local"), entry("b", "Cloud"));
}

/** A small square in the colour of a chart. @param {string} kind */
function swatch(kind) {
  const box = svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" });
  box.append(svg("rect", { class: kind, width: "10", height: "10", rx: "2" }));
  return box;
}

/** @param {string} tag @param {Record<string, unknown>} properties */
function svg(tag, properties) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, String(value));
  return element;
}
