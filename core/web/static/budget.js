// How full the context window is, as a ring and as text, and the session's cost so far.

import { h } from "./dom.js";
import { text } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

export class Budget {
  constructor() {
    this.value = circle("ring-value");
    this.ring = document.createElementNS(SVG, "svg");
    this.ring.setAttribute("class", "ring");
    this.ring.setAttribute("viewBox", "0 0 16 16");
    this.ring.setAttribute("aria-hidden", "true");
    this.ring.append(circle(""), this.value);
    this.short = h("span", { class: "budget-short" });
    this.long = h("span", { class: "budget-long" });
    this.cost = h("span", { class: "budget-long" });
    this.element = h(
      "span",
      { class: "budget", hidden: true },
      this.ring,
      this.short,
      this.long,
      this.cost,
    );
  }

  /**
   * @param {{ used: number|null, window: number|null, cost: number|null }} found
   * @param {boolean} local
   */
  show({ used, window, cost }, local) {
    const part = used !== null && window ? Math.min(1, used / window) : null;
    this.element.hidden = !used;
    this.ring.toggleAttribute("hidden", part === null);
    this.value.setAttribute("stroke-dasharray", `${Math.round((part ?? 0) * 100)} 100`);
    this.element.toggleAttribute("data-full", (part ?? 0) >= 0.9);
    this.short.textContent = part === null ? "" : `${Math.round(part * 100)} %`;
    this.long.textContent = window ? text.usedOf(used ?? 0, window) : text.tokens(used ?? 0);
    this.cost.textContent = local ? text.free : cost ? text.soFar(cost) : "";
    this.cost.hidden = !this.cost.textContent;
    this.element.title = text.budgetHint;
  }
}

/** @param {string} name */
function circle(name) {
  const made = document.createElementNS(SVG, "circle");
  for (const [key, value] of Object.entries({
    cx: "8",
    cy: "8",
    r: "6",
    pathLength: "100",
    class: name,
  }))
    if (value) made.setAttribute(key, value);
  return made;
}
