// A provider on the providers page: its state, a connection test, and its settings form.

import { request } from "./api.js";
import { append, button, h, icon } from "./dom.js";
import { ask } from "./dialog.js";
import { isAsked, KeyForm } from "./provider_key.js";
import { SettingsForm } from "./provider_settings.js";
import { modelTable } from "./model_table.js";
import { Pulls } from "./pulls.js";
import { lookedAt, stateBadge } from "./states.js";
import { text } from "./text.js";

/** @import { ModelRow, ProviderRow } from "./wire.d.ts" */

export class Row {
  /**
   * @param {ProviderRow} provider
   * @param {{ moved: (row: Row) => void, removed: () => void }} page called when the
   *   provider's kind changed or it was removed
   */
  constructor(provider, page) {
    this.provider = provider;
    this.page = page;
    this.open = false;
    this.summary = h("div", { class: "row-summary" });
    this.table = h("div", { class: "row-table" });
    this.more = h("div", { class: "row-more" });
    /** @type {HTMLElement|null} */ this.body = null;
    /** @type {SettingsForm|undefined} */ this.settings = undefined;
    /** @type {KeyForm|undefined} */ this.key = undefined;
    /** @type {Pulls|undefined} */ this.pulls = undefined;
    this.element = h("li", { class: "row", id: `provider-${provider.name}` }, this.summary);
    this.draw();
  }

  /** @param {Partial<ProviderRow>} found */
  update(found) {
    this.provider = { ...this.provider, ...found };
    this.key?.update(this.provider);
    if (isAsked(this.provider)) this.putKeyFirst();
    this.draw();
    this.page.moved(this);
  }

  /** Draw the provider's state without changing its form. */
  draw() {
    const held = this.summary.querySelector(":focus");
    const again = held?.matches("[aria-expanded]") ? "[aria-expanded]" : ".test";
    this.drawSummary();
    if (held) /** @type {HTMLElement|null} */ (this.summary.querySelector(again))?.focus();
    if (!this.open) {
      this.body?.remove();
      this.body = null;
    } else if (!this.body) {
      this.body = this.form();
      this.element.append(this.body);
    }
  }

  drawSummary() {
    const { provider } = this;
    const toggle = h(
      "button",
      {
        class: "button icon-only quiet",
        type: "button",
        "aria-expanded": String(this.open),
        "aria-label": text.settingsOf(provider.title),
        onclick: () => {
          this.open = !this.open;
          this.draw();
        },
      },
      icon("down", this.open ? "turned" : ""),
    );
    this.summary.replaceChildren(
      h(
        "div",
        { class: "row-head" },
        h("h3", { class: "row-name", title: provider.title }, provider.title),
        h(
          "span",
          { class: "row-where", title: provider.address },
          provider.address.replace(/^https:\/\//, ""),
        ),
        h(
          "span",
          { class: "row-state" },
          stateBadge(provider, { role: "status" }),
          h("span", { class: "when" }, lookedAt(provider)),
        ),
        this.act(),
        toggle,
      ),
    );
    if (provider.why) this.summary.append(h("p", { class: "row-why" }, provider.why));
  }

  /** Return the button for the next step. */
  act() {
    const { state } = this.provider;
    if (state === "no_key") return button(text.addKey, () => this.openForm(), "test");
    if (state === "no_address") return button(text.addAddress, () => this.openForm(), "test");
    return button(text.testConnection, () => this.test(), "test");
  }

  openForm() {
    this.open = true;
    this.draw();
    this.focus();
  }

  focus() {
    /** @type {HTMLElement|null} */ (this.element.querySelector(".row-body input"))?.focus();
  }

  form() {
    const { provider } = this;
    this.more.replaceChildren(h("p", { class: "row-why" }, text.asking));
    this.key = provider.takes_key
      ? new KeyForm(provider, this.path(), async (found) => {
          this.update(found);
          await this.test();
          await this.load();
        })
      : undefined;
    this.load();
    // local servers rarely need a key
    const first = provider.kind === "cloud" || isAsked(provider);
    const parts = first ? [this.key?.element, this.more] : [this.more, this.key?.element];
    const body = h("div", { class: "row-body" });
    append(body, [...parts, provider.removable && this.remover()]);
    return body;
  }

  /** Move a required key above the settings, unless it has unsaved text. */
  putKeyFirst() {
    const key = this.key?.element;
    if (!key?.isConnected || key.nextElementSibling === this.more) return;
    const held = /** @type {HTMLElement|null} */ (document.activeElement);
    if (this.more.contains(held)) return;
    this.more.before(key);
    if (key.contains(held)) held?.focus();
  }

  remover() {
    const { title } = this.provider;
    const act = () => request("DELETE", this.path()).then(() => this.page.removed());
    const sure = () => ask(text.removeQuestion(title), null, text.remove, act);
    return h("div", { class: "remover" }, button(text.removeProvider, sure, "quiet", "trash"));
  }

  /** Load the provider's settings and models, keeping unsaved text. */
  async load() {
    try {
      const found = await request("GET", this.path());
      const { models, fields, default_model, pulls, first_model, ...row } = found;
      if (!this.settings?.element.isConnected || this.settings.changed().length === 0)
        this.drawMore({ fields, models, default_model, address: row.address });
      if (pulls) this.offerPulls(first_model);
      this.showModels(models);
      this.update(row);
    } catch (problem) {
      const said = /** @type {Error} */ (problem).message;
      this.more.replaceChildren(h("p", { class: "row-why" }, said));
    }
  }

  /** @param {import("./provider_settings.js").Found} found */
  drawMore(found) {
    this.settings = new SettingsForm(this.provider.name, found, (changed) => this.change(changed));
    this.more.replaceChildren(this.settings.element, this.table);
    if (this.pulls) this.more.append(this.pulls.element);
  }

  /** Store settings, and test the provider with them. @param {Record<string, string>} changed */
  async change(changed) {
    this.update(await request("PUT", `${this.path()}/settings`, changed));
    const found = await request("GET", this.path());
    this.showModels(found.models);
    this.test();
  }

  /** @param {ModelRow[]} models */
  showModels(models) {
    this.table.replaceChildren(modelTable(models, this.provider.kind));
  }

  /** @param {string} example */
  offerPulls(example) {
    this.pulls ??= new Pulls({
      id: `pull-${this.provider.name}`,
      provider: this.provider.name,
      example,
      isShown: () => Boolean(this.pulls?.element.isConnected),
      onDone: async () => this.showModels((await request("GET", this.path())).models),
    });
    this.more.append(this.pulls.element);
    this.pulls.watch();
  }

  path() {
    return `/api/providers/${encodeURIComponent(this.provider.name)}`;
  }

  async test() {
    this.provider = { ...this.provider, state: "testing", why: "" };
    this.draw();
    const found = await request("POST", `${this.path()}/test`).catch((problem) => ({
      state: "failed",
      why: problem.message,
    }));
    this.update(found);
  }
}
