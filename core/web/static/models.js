// The model menu: local and cloud models, provider states, and downloads.

import { request } from "./api.js";
import { h, icon } from "./dom.js";
import { badges, priceOf, windowOf } from "./model_table.js";
import { Pulls } from "./pulls.js";
import { lookedAt, stateBadge } from "./states.js";
import { text } from "./text.js";

/** @import { ModelRow, ProviderRow } from "./wire.d.ts" */

export class Models {
  /** @param {(model: string) => void} choose @param {() => string} current */
  constructor(choose, current) {
    this.choose = this.chosen = choose;
    this.current = current;
    /** @type {ProviderRow[]} */ this.providers = [];
    this.find = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "search",
        placeholder: text.findModel,
        autocomplete: "off",
        oninput: () => this.draw(),
      })
    );
    this.list = h("div", {
      class: "models-list",
      tabindex: "0",
      role: "region",
      "aria-label": "Models",
    });
    this.pulls = new Pulls({
      id: "pull-name",
      provider: "",
      example: "",
      isShown: () => this.element.matches(":popover-open"),
      onDone: () => this.load(true),
    });
    this.element = h(
      "div",
      {
        class: "popover models",
        id: "models",
        popover: "auto",
        role: "dialog",
        "aria-label": text.chooseModel,
      },
      h(
        "div",
        { class: "models-find" },
        h(
          "label",
          { class: "field-search" },
          icon("search"),
          h("span", { class: "sr" }, text.findModel),
          this.find,
        ),
      ),
      this.list,
      this.pulls.element,
    );
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  /**
   * @param {(model: string) => void} [choose] called instead of switching to the model
   * @param {string} [label] the purpose of the choice
   */
  async open(choose, label = text.chooseModel) {
    this.chosen = choose ?? this.choose;
    this.element.setAttribute("aria-label", label);
    this.find.placeholder = choose ? label : text.findModel;
    this.place();
    this.element.showPopover();
    this.find.focus();
    this.draw();
    await Promise.all([this.load(), this.pulls.watch()]);
  }

  /** Open above its button, or below if there is more room. */
  place() {
    const at = document.querySelector(".model-button")?.getBoundingClientRect();
    if (!at) return;
    const [above, under] = [at.top, innerHeight - at.bottom];
    this.element.toggleAttribute("data-below", under > above);
    this.element.style.setProperty("--room", `${Math.floor(Math.max(above, under)) - 16}px`);
  }

  /** @param {boolean} [again] whether to ignore cached lists */
  async load(again = false) {
    try {
      this.providers = (
        await request("GET", again ? "/api/models?again=1" : "/api/models")
      ).providers;
    } catch (problem) {
      this.list.replaceChildren(
        h("p", { class: "provider-why" }, /** @type {Error} */ (problem).message),
      );
      return;
    }
    this.draw();
  }

  draw() {
    const words = this.find.value.trim().toLowerCase();
    const groups = ["local", "cloud"]
      .map((kind) => this.group(kind, words))
      .filter((group) => group !== null);
    this.list.replaceChildren(
      ...(groups.length > 0
        ? groups
        : [
            h(
              "p",
              { class: "provider-why" },
              this.providers.length > 0 ? text.noModels : `${text.testing} …`,
            ),
          ]),
    );
  }

  /** @param {string} kind @param {string} words */
  group(kind, words) {
    const parts = [];
    for (const provider of this.providers.filter((each) => each.kind === kind)) {
      const names = (/** @type {ModelRow} */ model) =>
        `${provider.title} ${provider.name}/${model.name}`.toLowerCase();
      const models = provider.models.filter(
        (model) => (model.chats || words) && names(model).includes(words),
      );
      if (models.length === 0 && words) continue;
      parts.push(providerLine(provider, () => this.test(provider)));
      if (provider.why) parts.push(h("p", { class: "provider-why" }, provider.why));
      parts.push(
        h(
          "ul",
          { role: "listbox", "aria-label": text.modelsOf(provider.title) },
          ...models.map((model) => this.row(provider, model)),
        ),
      );
    }
    if (parts.length === 0) return null;
    return h(
      "section",
      { class: "models-group" },
      h(
        "h3",
        { class: "models-kind" },
        icon(kind === "local" ? "local" : "cloud"),
        kind === "local" ? text.local : text.cloud,
      ),
      ...parts,
    );
  }

  /** @param {ProviderRow} provider @param {ModelRow} model */
  row(provider, model) {
    const name = `${provider.name}/${model.name}`;
    const chosen = [name, name.replace(/:latest$/, "")].includes(this.current());
    const price = provider.kind === "local" ? text.free : priceOf(model);
    return h(
      "li",
      {
        class: "model",
        role: "option",
        tabindex: "0",
        "aria-selected": String(chosen),
        "data-model": name,
        onclick: () => this.take(name),
      },
      icon("check", "model-check"),
      h("span", { class: "model-name", title: name }, model.name),
      h("span", { class: "badges" }, ...badges(model)),
      h("span", { class: "model-figure" }, windowOf(model)),
      h("span", { class: "model-figure price" }, price),
    );
  }

  /** @param {string} name */
  take(name) {
    this.element.hidePopover();
    this.chosen(name);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const rows = /** @type {HTMLElement[]} */ ([...this.list.querySelectorAll(".model")]);
    const at = rows.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    if (event.key === "ArrowDown") rows[Math.min(rows.length - 1, at + 1)]?.focus();
    else if (event.key === "ArrowUp") (at > 0 ? rows[at - 1] : this.find).focus();
    else if (event.key === "Enter" && at >= 0) this.take(rows[at].dataset.model ?? "");
    else if (event.key === "Enter" && document.activeElement === this.find && rows[0])
      this.take(rows[0].dataset.model ?? "");
    else return;
    event.preventDefault();
  }

  /** @param {ProviderRow} provider */
  async test(provider) {
    provider.state = "testing";
    this.draw();
    Object.assign(
      provider,
      await request("POST", `/api/providers/${encodeURIComponent(provider.name)}/test`).catch(
        (problem) => ({ state: "failed", why: problem.message }),
      ),
    );
    this.draw();
  }
}

/** @param {ProviderRow} provider @param {() => void} test */
function providerLine(provider, test) {
  const page = `/providers#provider-${encodeURIComponent(provider.name)}`;
  const missing = { no_key: text.addKey, no_address: text.addAddress }[provider.state];
  const act = missing
    ? h("a", { class: "link-button", href: page }, missing)
    : h("button", { class: "link-button", type: "button", onclick: test }, text.testConnection);
  const ago = lookedAt({ ...provider, ms: null });
  return h(
    "div",
    { class: "provider-line" },
    h("span", { class: "provider-name" }, provider.title),
    stateBadge(provider),
    h("span", { class: "when" }, ago && text.checked(ago)),
    act,
  );
}
