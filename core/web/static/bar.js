// The bar at the top: title, saved state and actions.

import { h, icon, iconButton } from "./dom.js";
import { text } from "./text.js";

/** @import { SessionRow } from "./wire.d.ts" */

export class Bar {
  /**
   * @param {{ openList: () => void, compare: () => void, menu: (at: HTMLElement) => void }} actions
   */
  constructor(actions) {
    this.heading = h("h1", { class: "bar-title", dir: "auto" });
    this.tags = h("span", { class: "bar-tags" });
    this.state = h("span", { class: "saved", role: "status" });
    this.compare = h("button", {
      class: "button quiet hide-phone-label",
      type: "button",
      onclick: () => actions.compare(),
    });
    this.menu = iconButton(
      "more",
      `${text.more} for this session`,
      (event) => actions.menu(/** @type {HTMLElement} */ (event.currentTarget)),
      { "aria-haspopup": "menu" },
    );
    const list = iconButton("sidebar", "Show sessions", () => actions.openList(), {
      class: "button icon-only quiet only-narrow",
      "data-open": "sidebar",
    });
    const space = h("span", { class: "spacer" });
    this.element = h(
      "header",
      { class: "bar" },
      list,
      this.heading,
      this.tags,
      space,
      this.state,
      this.compare,
      this.menu,
    );
    this.showCompared(false);
  }

  /** Show or hide the parts that belong to a conversation. @param {boolean} shown */
  showTools(shown) {
    this.tags.replaceChildren();
    this.element.classList.toggle("bar-page", !shown);
    const tools = [this.heading, this.state, this.compare, this.menu];
    for (const tool of tools) tool.hidden = !shown;
  }

  /**
   * Show the tags of the current session if it is in the list.
   * @param {SessionRow[]} sessions
   * @param {string} current
   */
  showTags(sessions, current) {
    const found = sessions.find((session) => session.id === current);
    if (current && !found) return;
    const tags = found?.tags ?? [];
    this.tags.replaceChildren(...tags.map((tag) => h("span", { class: "bar-tag" }, tag)));
  }

  /** @param {boolean} compared whether two models are compared */
  showCompared(compared) {
    const label = compared ? text.stopComparing : text.compare;
    this.compare.setAttribute("aria-pressed", String(compared));
    this.compare.setAttribute("aria-label", label);
    this.compare.title = label;
    this.compare.replaceChildren(icon("compare"), h("span", {}, label));
  }

  /** @param {boolean} connected @param {boolean|null} saved null while there is nothing to save */
  showState(connected, saved) {
    const stored = saved === null ? "" : saved ? text.saved : text.notSaved;
    const said = connected ? stored : text.connectionLost;
    const mark = icon(connected && saved ? "check" : "warn");
    this.state.replaceChildren(...(said ? [mark, h("span", {}, said)] : []));
    this.state.title = connected ? "" : text.serverGone;
    this.state.dataset.state = connected ? "" : "warn";
  }
}
