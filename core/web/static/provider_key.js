// The form for a provider's key, which is never shown again.

import { ApiError, request } from "./api.js";
import { ask } from "./dialog.js";
import { button, h, icon } from "./dom.js";
import { text } from "./text.js";

/** @import { ProviderRow } from "./wire.d.ts" */

/** Whether a provider needs a key that is missing. @param {ProviderRow} provider */
export function isAsked({ state }) {
  return state === "no_key" || state === "key_refused";
}

export class KeyForm {
  /**
   * @param {ProviderRow} provider
   * @param {string} path of the provider
   * @param {(found: ProviderRow) => Promise<void>} changed called after a change of the key
   */
  constructor(provider, path, changed) {
    this.provider = provider;
    this.path = `${path}/key`;
    this.changed = changed;
    this.id = `key-${provider.name}`;
    /** @type {HTMLElement|undefined} */ this.noted = undefined;
    this.element = h("form", {
      class: "field span key-form",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        this.store();
      },
    });
    this.draw();
  }

  /** Show where the key is stored, or a field for it. @param {boolean} [replacing] */
  draw(replacing = false) {
    const { key } = this.provider;
    if (key === "stored" && !replacing) this.drawStored();
    else if (key && !replacing) this.drawFixed(key);
    else this.drawField(replacing);
  }

  drawStored() {
    const { title } = this.provider;
    const sure = () =>
      ask(text.removeKeyQuestion(title), null, text.remove, () => this.act("DELETE"));
    this.element.replaceChildren(
      h("span", { class: "field-label" }, text.key),
      h(
        "div",
        { class: "field-line" },
        h("span", { class: "key-saved" }, icon("lock"), text.keyStored),
        button(text.replace, () => this.draw(true)),
        button(text.remove, sure, "quiet"),
      ),
    );
  }

  /** A key that the page cannot change. @param {string} place */
  drawFixed(place) {
    this.element.replaceChildren(
      h("span", { class: "field-label" }, text.key),
      h("span", { class: "key-saved" }, icon("lock"), text.keyFrom(place)),
      h("small", {}, text.keyFixed),
    );
  }

  /** @param {boolean} replacing */
  drawField(replacing) {
    this.field = /** @type {HTMLInputElement} */ (
      h("input", { class: "input", id: this.id, type: "password", autocomplete: "off" })
    );
    this.error = h("p", { class: "field-error", id: `${this.id}-why`, role: "alert" });
    this.error.hidden = true;
    this.element.replaceChildren(
      h("label", { for: this.id }, text.key),
      h(
        "div",
        { class: "field-line" },
        this.field,
        h("button", { class: "button primary", type: "submit" }, text.saveKey),
        replacing ? button(text.cancel, () => this.draw(), "quiet") : "",
      ),
      this.error,
    );
    if (this.provider.kind === "local") this.note();
    if (replacing) this.field.focus();
  }

  /** Add a checkbox for whether the user's own server needs a key; few do. */
  note() {
    const said = isAsked(this.provider) ? text.keyAsked : text.keySeldom;
    this.noted = this.noted ?? h("small");
    this.noted.replaceChildren(said);
    this.element.append(this.noted);
  }

  /** Update the form with the provider's new state. @param {ProviderRow} provider */
  update(provider) {
    this.provider = { ...provider, key: this.provider.key };
    if (this.noted?.isConnected) this.note();
  }

  async store() {
    const key = this.field?.value ?? "";
    if (await this.act("PUT", { key })) return;
    this.field?.setAttribute("aria-invalid", "true");
    this.field?.setAttribute("aria-describedby", `${this.id}-why`);
    this.field?.focus();
  }

  /** Send a change; return its success. @param {string} method @param {{ key: string }} [body] */
  async act(method, body) {
    try {
      this.provider = await request(method, this.path, body);
    } catch (problem) {
      if (!this.error?.isConnected) this.drawField(true);
      this.error?.replaceChildren(
        icon("warn"),
        problem instanceof ApiError ? `${problem.message} ${problem.hint}` : String(problem),
      );
      if (this.error) this.error.hidden = false;
      return false;
    }
    this.draw();
    /** @type {HTMLElement|null} */ (this.element.querySelector("button, input"))?.focus();
    await this.changed(this.provider);
    return true;
  }
}
