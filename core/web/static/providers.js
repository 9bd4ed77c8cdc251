// The providers page: configured and offered providers in two groups, and a form to add others.

import { addProvider } from "./add_provider.js";
import { request } from "./api.js";
import { button, h, icon } from "./dom.js";
import { Row } from "./provider_row.js";
import { pullRows } from "./pulls.js";
import { canAsk } from "./states.js";
import { text } from "./text.js";

/** @import { ProviderRow } from "./wire.d.ts" */

/** @param {HTMLElement} place */
export async function showProviders(place) {
  const page = new ProviderPage();
  place.replaceChildren(page.element);
  await page.loaded;
  page.find(location.hash.slice(1));
}

class ProviderPage {
  constructor() {
    /** @type {Row[]} */ this.rows = [];
    /** @type {ProviderRow[]} */ this.others = [];
    this.lists = { local: h("ul", { class: "list" }), cloud: h("ul", { class: "list" }) };
    this.element = h(
      "div",
      { class: "sheet-page" },
      h(
        "div",
        { class: "page-head" },
        h("h1", {}, text.providers),
        h("span", { class: "spacer" }),
        button(text.testAll, () => this.testAll(), "", "plug"),
        button(text.addProvider, () => this.add(), "", "plus"),
      ),
      h("p", { class: "page-lead" }, text.keysStay),
      head("local", text.local, text.nothingLeaves),
      this.lists.local,
      head("cloud", text.cloud, text.messagesAreSent),
      this.lists.cloud,
    );
    /** @type {Promise<void>} */ this.loaded = this.load();
  }

  async load() {
    const { providers } = await request("GET", "/api/providers");
    /** @type {ProviderRow[]} */ const all = providers;
    this.others = all.filter((provider) => !provider.listed);
    for (const provider of all) if (provider.listed) this.show(provider);
    await this.showPulls();
  }

  /** Open the rows of providers that are downloading a model, so that it is seen after a reload. */
  async showPulls() {
    for (const job of (await pullRows()).filter((each) => each.state === "running")) {
      const row = this.rows.find((each) => job.model.startsWith(`${each.provider.name}/`));
      if (!row || row.open) continue;
      row.open = true;
      row.draw();
    }
  }

  /** @param {ProviderRow} provider */
  show(provider) {
    const row = new Row(provider, { moved: (each) => this.put(each), removed: () => this.again() });
    this.rows.push(row);
    this.put(row);
    return row;
  }

  /** Put a row under the heading of its kind. @param {Row} row */
  put(row) {
    const list = this.lists[row.provider.kind];
    if (row.element.parentElement !== list) list.append(row.element);
  }

  /** Redraw the page after a provider was removed. */
  async again() {
    this.rows = [];
    this.lists.local.replaceChildren();
    this.lists.cloud.replaceChildren();
    this.loaded = this.load();
    await this.loaded;
    this.element.querySelector("button")?.focus();
  }

  async add() {
    await this.loaded;
    addProvider(this.others, (provider) => {
      this.others = this.others.filter((other) => other.name !== provider.name);
      const row = this.rows.find((each) => each.provider.name === provider.name);
      const shown = row ?? this.show(provider);
      shown.open = true;
      shown.draw();
      shown.element.scrollIntoView({ block: "nearest" });
      shown.focus();
      shown.test();
    });
  }

  testAll() {
    for (const row of this.rows) if (canAsk(row.provider)) row.test();
  }

  /** Scroll to the named heading or provider, and open its row. @param {string} name */
  find(name) {
    const row = this.rows.find((each) => `provider-${each.provider.name}` === name);
    if (row) row.openForm();
    if (name) document.getElementById(name)?.scrollIntoView();
  }
}

/** @param {string} kind @param {string} title @param {string} note */
function head(kind, title, note) {
  return h(
    "h2",
    { class: "group-head", id: `kind-${kind}` },
    icon(kind),
    title,
    " ",
    h("small", {}, note),
  );
}
