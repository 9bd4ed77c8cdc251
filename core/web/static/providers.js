// The page of providers: kind and state of each, its address, models and key, and a test of the
// connection.

import { ApiError, request } from "./api.js";
import { append, button, h, icon } from "./dom.js";
import { stateOf } from "./models.js";
import { Pulls } from "./pulls.js";
import { text } from "./text.js";

/** @import { ModelRow, ProviderRow } from "./wire.d.ts" */

/** @param {HTMLElement} place */
export async function showProviders(place) {
  const sheet = h("div", { class: "sheet-page" });
  place.replaceChildren(sheet);
  const { providers } = await request("GET", "/api/providers");
  /** @type {Row[]} */ const rows = providers.map(
    (/** @type {ProviderRow} */ provider) => new Row(provider),
  );
  const testAll = () => {
    for (const row of rows) if (row.provider.state !== "warn") row.test();
  };
  sheet.append(
    h(
      "div",
      { class: "page-head" },
      h("h1", {}, "Providers"),
      h("span", { class: "spacer" }),
      button("Test all", testAll, "", "plug"),
    ),
    h("p", { class: "page-lead" }, text.keysStay),
    ...group(rows, "local", text.local, "Nothing leaves this computer"),
    ...group(rows, "cloud", text.cloud, "Messages are sent to the provider"),
  );
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

/** @param {Row[]} rows @param {string} kind @param {string} title @param {string} note */
function group(rows, kind, title, note) {
  return [
    h("h2", { class: "group-head", id: kind }, icon(kind), title, " ", h("small", {}, note)),
    h(
      "ul",
      { class: "list" },
      ...rows.filter((row) => row.provider.kind === kind).map((row) => row.element),
    ),
  ];
}

class Row {
  /** @param {ProviderRow} provider */
  constructor(provider) {
    this.provider = provider;
    this.open = false;
    this.summary = h("div", { class: "row-summary" });
    this.names = h("datalist", { id: `models-of-${provider.name}` });
    this.table = h("div");
    this.more = h("div", { class: "row-more" });
    /** @type {HTMLElement|null} */ this.body = null;
    this.element = h("li", { class: "row", id: provider.name }, this.summary);
    this.draw();
  }

  /** Draw how the provider is; what is written in its form stays. */
  draw() {
    const held = this.summary.querySelector(":focus");
    const again = held?.matches("[aria-expanded]") ? "[aria-expanded]" : ".test";
    this.drawSummary();
    const button = /** @type {HTMLElement|null} */ (held && this.summary.querySelector(again));
    button?.focus();
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
        "aria-label": `Settings of ${provider.name}`,
        onclick: () => {
          this.open = !this.open;
          this.draw();
        },
      },
      icon("down", this.open ? "turned" : ""),
    );
    const act =
      provider.state === "warn" && provider.takes_key
        ? h(
            "button",
            {
              class: "button test",
              type: "button",
              onclick: () => {
                this.open = true;
                this.draw();
                this.element.querySelector("input")?.focus();
              },
            },
            text.addKey,
          )
        : h(
            "button",
            { class: "button test", type: "button", onclick: () => this.test() },
            text.testConnection,
          );
    this.summary.replaceChildren(
      h(
        "div",
        { class: "row-head" },
        h("h3", { class: "row-name" }, provider.name),
        h(
          "span",
          { class: "row-where", title: provider.address },
          (provider.address || "").replace(/^https:\/\//, ""),
        ),
        h(
          "span",
          { class: "row-state" },
          h(
            "span",
            { class: "state", "data-state": provider.state, role: "status" },
            ...stateOf(provider.state),
          ),
          h("span", { class: "when" }, (provider.when ?? "").replace("checked ", "")),
        ),
        act,
        toggle,
      ),
    );
    if (provider.why) this.summary.append(h("p", { class: "row-why" }, provider.why));
  }

  form() {
    const { provider } = this;
    this.more.replaceChildren(h("p", { class: "row-why" }, `${text.testing} …`));
    const key = provider.takes_key && this.keyForm();
    this.load();
    // on this computer a key is seldom needed
    const parts = provider.kind === "cloud" ? [key, this.more] : [this.more, key];
    const body = h("div", { class: "row-body" });
    append(body, parts);
    return body;
  }

  /** The provider's settings and models. */
  async load() {
    try {
      const found = await request("GET", this.path());
      this.showModels(found.models);
      const form = this.settingsForm(found.fields, found.address);
      this.more.replaceChildren(form, this.names, this.table);
      if (found.pulls) this.offerPulls();
    } catch (problem) {
      const said = /** @type {Error} */ (problem).message;
      this.more.replaceChildren(h("p", { class: "row-why" }, said));
    }
  }

  /** @param {ModelRow[]} models */
  showModels(models) {
    this.table.replaceChildren(modelTable(models));
    this.names.replaceChildren(...models.map(({ name }) => h("option", { value: name })));
  }

  offerPulls() {
    const pulls = new Pulls({
      id: `pull-${this.provider.name}`,
      provider: this.provider.name,
      isShown: () => pulls.element.isConnected,
      onDone: async () => this.showModels((await request("GET", this.path())).models),
    });
    this.more.append(pulls.element);
    pulls.watch();
  }

  path() {
    return `/api/providers/${encodeURIComponent(this.provider.name)}`;
  }

  /** @param {{ name: string, value: string }[]} fields @param {string} address */
  settingsForm(fields, address) {
    const inputs = fields.map(({ name, value }) => {
      const id = `${this.provider.name}-${name}`;
      const hint = name === "base_url" ? address : "";
      return h(
        "div",
        { class: "field" },
        h("label", { for: id }, text.fields[name] ?? name),
        h("input", {
          class: "input",
          id,
          name,
          type: "text",
          list: name === "model" ? `models-of-${this.provider.name}` : undefined,
          value,
          placeholder: hint || text.fieldDefault,
          autocomplete: "off",
          "data-before": value,
        }),
      );
    });
    const error = h("p", { class: "field-error", role: "alert", hidden: true });
    const form = h(
      "form",
      {
        class: "fields",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          save();
        },
      },
      ...inputs,
      h(
        "div",
        { class: "field-line span" },
        h("button", { class: "button", type: "submit" }, text.saveSettings),
        error,
      ),
    );
    const save = async () => {
      const changed = /** @type {HTMLInputElement[]} */ ([
        ...form.querySelectorAll("input"),
      ]).filter((each) => each.value !== each.dataset.before);
      try {
        await request(
          "PUT",
          `${this.path()}/settings`,
          Object.fromEntries(changed.map((each) => [each.name, each.value])),
        );
        for (const each of changed) each.dataset.before = each.value;
        error.hidden = true;
        const found = await request("GET", this.path());
        this.provider = { ...this.provider, ...found };
        this.showModels(found.models);
        await this.test();
      } catch (problem) {
        error.hidden = false;
        error.replaceChildren(
          icon("warn"),
          problem instanceof ApiError ? `${problem.message} ${problem.hint}` : String(problem),
        );
      }
    };
    return form;
  }

  keyForm() {
    const { provider } = this;
    const id = `key-${provider.name}`;
    const field = /** @type {HTMLInputElement} */ (
      h("input", {
        class: "input",
        id,
        type: "password",
        autocomplete: "off",
        placeholder: provider.has_key ? text.replaceKey : "",
      })
    );
    const stored = h("span", { class: "key-saved", hidden: !provider.has_key });
    append(stored, [icon("lock"), text.keyStored]);
    const error = h("p", { class: "field-error", role: "alert", hidden: true });
    const store = async () => {
      try {
        await request("PUT", `${this.path()}/key`, { key: field.value });
        field.value = "";
        field.placeholder = text.replaceKey;
        field.removeAttribute("aria-invalid");
        stored.hidden = false;
        error.hidden = true;
        await this.test();
        await this.load();
      } catch (problem) {
        field.setAttribute("aria-invalid", "true");
        error.hidden = false;
        error.replaceChildren(
          icon("warn"),
          problem instanceof ApiError ? `${problem.message} ${problem.hint}` : String(problem),
        );
      }
    };
    return h(
      "form",
      {
        class: "field span",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          store();
        },
      },
      h("label", { for: id }, text.key),
      h(
        "div",
        { class: "field-line" },
        field,
        stored,
        h("button", { class: "button primary", type: "submit" }, text.saveKey),
      ),
      error,
    );
  }

  async test() {
    this.provider.state = "testing";
    this.draw();
    const found = await request("POST", `${this.path()}/test`).catch((problem) => ({
      state: "bad",
      why: problem.message,
    }));
    this.provider = { ...this.provider, ...found };
    this.draw();
  }
}

/** @param {ModelRow[]} models */
function modelTable(models) {
  if (models.length === 0) return h("p", { class: "row-why" }, text.noModelsListed);
  const price = (/** @type {ModelRow} */ model) =>
    model.input_price === null ? "" : text.pricePair(model.input_price, model.output_price);
  const row = (/** @type {ModelRow} */ model) =>
    h(
      "tr",
      {},
      h("td", {}, model.name),
      h(
        "td",
        {},
        .../** @type {const} */ (["tools", "vision", "thinking"])
          .filter((able) => model[able])
          .map((able) => h("span", { class: "badge" }, able === "vision" ? "images" : able)),
      ),
      h("td", {}, model.window ? `${Math.round(model.window / 1000)}k` : ""),
      h("td", {}, model.size ? text.size(model.size) : ""),
      h("td", {}, price(model)),
    );
  return h(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": text.models },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...text.modelColumns.map((name) => h("th", {}, name)))),
      h("tbody", {}, ...models.map(row)),
    ),
  );
}
