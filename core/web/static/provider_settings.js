// The settings form of a provider: address, default model and parameters.

import { ApiError } from "./api.js";
import { h, icon } from "./dom.js";
import { text } from "./text.js";

/** @import { ModelRow } from "./wire.d.ts" */

/**
 * @typedef {{
 *   fields: { name: string, value: string }[],
 *   models: ModelRow[],
 *   default_model: string,
 *   address: string
 * }} Found the fields and their possible values, from the server
 */

export class SettingsForm {
  /**
   * @param {string} provider
   * @param {Found} found
   * @param {(changed: Record<string, string>) => Promise<void>} store
   */
  constructor(provider, found, store) {
    this.provider = provider;
    this.found = found;
    this.store = store;
    this.said = h("p", { class: "field-said", role: "status" });
    this.error = h("p", { class: "field-error", role: "alert", hidden: true });
    this.element = h(
      "form",
      {
        class: "fields",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          this.save();
        },
        oninput: () => this.said.replaceChildren(),
      },
      ...found.fields.filter(isWide).map((field) => this.field(field)),
      h(
        "div",
        { class: "parameters span" },
        ...found.fields.filter((field) => !isWide(field)).map((field) => this.field(field)),
      ),
      h(
        "div",
        { class: "field-line span" },
        h("button", { class: "button", type: "submit" }, text.saveSettings),
        this.said,
        this.error,
      ),
    );
  }

  /** @param {{ name: string, value: string }} field */
  field({ name, value }) {
    const id = `${this.provider}-${name}`;
    const models = [...this.found.models].sort((a, b) => Number(b.chats) - Number(a.chats));
    const names = models.map((model) => model.name);
    const chosen = name === "model" && names.length > 0;
    return h(
      "div",
      { class: "field" },
      h("label", { for: id }, text.fields[name] ?? name),
      chosen ? this.modelList(id, value, names) : this.input(id, name, value),
    );
  }

  /** @param {string} id @param {string} name @param {string} value */
  input(id, name, value) {
    const hints = { base_url: this.found.address, model: this.found.default_model };
    return h("input", {
      class: "input",
      id,
      name,
      type: name === "base_url" ? "url" : "text",
      inputmode: isWide({ name }) ? undefined : "decimal",
      value,
      placeholder: hints[/** @type {keyof typeof hints} */ (name)] || text.fieldDefault,
      autocomplete: "off",
      spellcheck: "false",
      "data-before": value,
    });
  }

  /** @param {string} id @param {string} value @param {string[]} names */
  modelList(id, value, names) {
    const listed = !value || names.includes(value) ? names : [value, ...names];
    const usual = !value && this.found.default_model ? this.found.default_model : names[0];
    const option = (/** @type {string} */ each) =>
      h("option", { value: each, selected: each === value }, each);
    return h(
      "span",
      { class: "select" },
      h(
        "select",
        { class: "input", id, name: "model", "data-before": value },
        h("option", { value: "", selected: !value }, text.usualModel(usual)),
        ...listed.map(option),
      ),
      icon("down"),
    );
  }

  /** Return the fields that differ from the stored settings. */
  changed() {
    const inputs = /** @type {HTMLInputElement[]} */ ([
      ...this.element.querySelectorAll("input, select"),
    ]);
    return inputs.filter((each) => each.value !== each.dataset.before);
  }

  async save() {
    const changed = this.changed();
    try {
      await this.store(Object.fromEntries(changed.map((each) => [each.name, each.value])));
      for (const each of changed) each.dataset.before = each.value;
      this.error.hidden = true;
      this.said.replaceChildren(icon("check"), text.saved);
    } catch (problem) {
      this.said.replaceChildren();
      this.error.hidden = false;
      this.error.replaceChildren(
        icon("warn"),
        problem instanceof ApiError ? `${problem.message} ${problem.hint}` : String(problem),
      );
    }
  }
}

/** Whether a field is for text, not a number. @param {{ name: string }} field */
function isWide({ name }) {
  return name === "base_url" || name === "model";
}
