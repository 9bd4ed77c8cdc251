// The dialog that adds a provider: a known one, or a server by its address.

import { ApiError, request } from "./api.js";
import { button, h, icon } from "./dom.js";
import { text } from "./text.js";

/** @import { ProviderRow } from "./wire.d.ts" */

const OTHER = ""; // what the list of providers holds for a server of the user's own

/**
 * @param {ProviderRow[]} others known providers that are not set up
 * @param {(added: ProviderRow) => void} done
 */
export function addProvider(others, done) {
  const dialog = new AddDialog(
    others.filter((each) => each.addable),
    done,
  );
  document.body.append(dialog.element);
  dialog.element.showModal();
  dialog.show();
}

class AddDialog {
  /** @param {ProviderRow[]} others @param {(added: ProviderRow) => void} done */
  constructor(others, done) {
    this.others = others;
    this.done = done;
    this.which = /** @type {HTMLSelectElement} */ (
      h(
        "select",
        { class: "input", id: "add-which", onchange: () => this.show() },
        h("option", { value: OTHER }, text.anotherServer),
        this.group("cloud", text.cloud),
        this.group("local", text.local),
      )
    );
    this.name = input("add-name", "text", text.nameExample);
    this.address = input("add-address", "url", text.addressExample);
    this.key = input("add-key", "password", "");
    this.speaks = /** @type {HTMLSelectElement} */ (
      h(
        "select",
        { class: "input", id: "add-speaks" },
        ...Object.entries(text.dialects).map(([value, label]) => h("option", { value }, label)),
      )
    );
    this.fields = {
      which: field("add-which", text.provider, select(this.which)),
      name: field("add-name", text.providerName, this.name, text.nameUse),
      address: field("add-address", text.fields.base_url, this.address),
      speaks: field("add-speaks", text.speaks, select(this.speaks)),
      key: field("add-key", text.key, this.key),
    };
    this.error = h("p", { class: "field-error", role: "alert", hidden: true });
    this.element = this.dialog();
  }

  dialog() {
    const dialog = /** @type {HTMLDialogElement} */ (
      h(
        "dialog",
        { class: "dialog", "aria-labelledby": "add-title" },
        h(
          "form",
          {
            class: "dialog-fields",
            novalidate: true,
            onsubmit: (/** @type {Event} */ event) => {
              event.preventDefault();
              this.add();
            },
          },
          h("h2", { id: "add-title" }, text.addProvider),
          ...Object.values(this.fields),
          this.error,
          h(
            "div",
            { class: "dialog-actions" },
            h("button", { class: "button primary", type: "submit" }, text.add),
            button(text.cancel, () => dialog.close(), "quiet"),
          ),
        ),
      )
    );
    dialog.addEventListener("close", () => dialog.remove());
    return dialog;
  }

  /** @param {string} kind @param {string} label */
  group(kind, label) {
    const rows = this.others.filter((each) => each.kind === kind);
    return h(
      "optgroup",
      { label },
      ...rows.map(({ name, title }) => h("option", { value: name }, title)),
    );
  }

  chosen() {
    return this.others.find((each) => each.name === this.which.value);
  }

  /** Show the fields that the chosen provider needs. */
  show() {
    const provider = this.chosen();
    this.fields.name.hidden = this.fields.speaks.hidden = Boolean(provider);
    this.fields.address.hidden = provider?.kind === "cloud" && provider.address !== "";
    this.fields.key.hidden = provider ? !provider.takes_key : false;
    this.address.placeholder = provider?.address || text.addressExample;
    this.key.placeholder = provider?.kind === "cloud" ? "" : text.keyIfNeeded;
    this.error.hidden = true;
  }

  async add() {
    const body = {
      name: this.which.value || this.name.value,
      base_url: this.address.value,
      dialect: this.speaks.value,
      key: this.key.value,
    };
    try {
      const added = await request("POST", "/api/providers", body);
      this.element.close();
      this.done(added);
    } catch (problem) {
      this.error.hidden = false;
      this.error.replaceChildren(
        icon("warn"),
        problem instanceof ApiError ? `${problem.message} ${problem.hint}` : String(problem),
      );
    }
  }
}

/** @param {string} id @param {string} type @param {string} placeholder */
function input(id, type, placeholder) {
  return /** @type {HTMLInputElement} */ (
    h("input", {
      class: "input",
      id,
      type,
      placeholder,
      autocomplete: "off",
      spellcheck: "false",
    })
  );
}

/** @param {HTMLElement} list */
function select(list) {
  return h("span", { class: "select" }, list, icon("down"));
}

/** @param {string} id @param {string} label @param {Node} control @param {string} [note] */
function field(id, label, control, note) {
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    control,
    note && h("small", {}, note),
  );
}
