// The first page, when no provider is set up: choose where answers come from.

import { request } from "./api.js";
import { h, icon } from "./dom.js";
import { pullRows } from "./pulls.js";
import { shortModel } from "./states.js";
import { text } from "./text.js";

const [OLLAMA, SMALL] = [0, 1]; // the places of choices under which something may be said

export class FirstRun {
  /**
   * @param {{
   *   ready: (model: string) => void,
   *   go: (path: string) => void
   * }} actions `ready` is called once there is a model
   */
  constructor(actions) {
    this.actions = actions;
    this.list = h("div", { class: "choices" });
    this.said = h("p", { class: "choice-said", role: "status" });
    this.saidOf = 0; // the choice under which something is said
    this.hint = h("p", {}, text.firstHint);
    this.element = h(
      "section",
      { class: "start first-run", "aria-labelledby": "first-title" },
      h(
        "div",
        { class: "start-head" },
        icon("mark"),
        h("h1", { id: "first-title" }, text.firstTitle),
        this.hint,
      ),
      this.list,
    );
  }

  /**
   * Return the model for a new session; if none is set up, draw the choices.
   * @returns {Promise<string>} the model, or ""
   */
  async look() {
    const found = await request("GET", "/api/first");
    if (found.set_up) return found.model;
    this.draw(found);
    this.watch(OLLAMA, found.server.model);
    this.watch(SMALL, `local/${found.small.name}`);
    return "";
  }

  /** Check again, and continue if there is a model. */
  async again() {
    this.say(OLLAMA, text.testing);
    const model = await this.look();
    this.say(this.saidOf, model ? "" : text.stillNothing);
    if (model) this.actions.ready(model);
  }

  /** @param {any} found */
  draw({ server: ollama, small, cloud, chosen }) {
    this.hint.textContent = chosen ? text.chosenGone(chosen) : text.firstHint;
    this.list.replaceChildren(
      choice(
        "local",
        ollama.here ? text.ollamaHere : text.ollamaElsewhere,
        ollamaState(ollama),
        () => (ollama.ok ? this.fetch(OLLAMA, ollama.model) : this.again()),
        h(
          "span",
          { class: "state" },
          ...(ollama.ok ? [icon("pull"), text.pull] : [icon("retry"), text.checkAgain]),
        ),
      ),
      choice(
        "pull",
        text.smallModel,
        small.missing || text.smallFacts(small),
        small.missing ? null : () => this.fetch(SMALL, `local/${small.name}`),
      ),
      choice("cloud", text.cloudProvider, text.cloudFacts(cloud.named, cloud.others), () =>
        this.actions.go("/providers#kind-cloud"),
      ),
      choice("play", text.tryDemo, text.demoFacts, () => this.demo()),
    );
    this.list.firstElementChild?.setAttribute("data-first", "");
    this.list.children[this.saidOf].after(this.said);
  }

  /**
   * Show a message under a choice.
   * @param {number} which @param {...(string|Node)} parts
   */
  say(which, ...parts) {
    this.said.replaceChildren(...parts);
    if (which === this.saidOf && this.said.isConnected) return;
    this.saidOf = which;
    this.list.querySelectorAll(".choice")[which].after(this.said);
    this.said.scrollIntoView({ block: "nearest" });
  }

  async demo() {
    this.actions.ready((await request("POST", "/api/first", { choice: "demo" })).model);
  }

  /** Download a model. @param {number} which @param {string} model */
  async fetch(which, model) {
    await request("POST", "/api/pulls", { model });
    await this.watch(which, model);
  }

  /**
   * Show the progress of a download under its choice, even if an earlier visit started it.
   * @param {number} which @param {string} model
   */
  async watch(which, model) {
    const name = shortModel(model);
    for (;;) {
      const job = (await pullRows()).find((each) => each.model === model);
      if (!job || !this.element.isConnected) return;
      const runs = job.state === "running";
      const progress = h("progress", {
        max: "100",
        value: job.percent ?? undefined,
        "aria-label": text.pulling(name),
      });
      const what = job.state === "failed" ? text.notPulled : text.pulling;
      this.say(which, `${what(name)}: ${job.said}`, runs ? progress : "");
      if (job.state === "done") return void (await this.again());
      if (!runs) return;
      await new Promise((resolve) => setTimeout(resolve, 700));
    }
  }
}

/** @param {{ ok: boolean, here: boolean, address: string, model: string }} ollama */
function ollamaState({ ok, here, address, model }) {
  const name = shortModel(model);
  if (here) return ok ? text.ollamaEmpty(address, name) : text.ollamaGone(address);
  return ok ? text.elsewhereEmpty(address, name) : text.elsewhereGone(address);
}

/**
 * @param {string} mark
 * @param {string} title
 * @param {string} facts
 * @param {(() => void)|null} act
 * @param {Node} [state]
 */
function choice(mark, title, facts, act, state) {
  const parts = [
    icon(mark),
    h("strong", {}, title),
    h("small", {}, facts),
    act && (state ?? icon("right")),
  ];
  return act
    ? h("button", { class: "choice", type: "button", onclick: act }, ...parts)
    : h("div", { class: "choice" }, ...parts);
}
