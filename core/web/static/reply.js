// One reply as it grows: thinking and tools, text, notices, breaks, and the line of facts under it.

import { Blocks } from "./blocks.js";
import { append, button, copy, h, icon, iconButton } from "./dom.js";
import { text } from "./text.js";

const TOOL_ICONS = { read: "file", list: "file", search: "web", fetch: "web", run: "terminal", query: "chart" };

/** @typedef {{ onContinue: () => void, onRetry: () => void, onRetryWith: () => void, onDecide: (ask: string, choice: string) => void,
 *              onChooseModel: () => void, onAsked: (question: HTMLElement) => void, onAnswered: () => void }} ReplyActions */

export class Reply {
  /** @param {ReplyActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.source = [];
    this.model = "";
    this.output = 0;
    this.started = performance.now();
    /** @type {HTMLElement|null} */ this.steps = null;
    /** @type {HTMLElement|null} */ this.prose = null;
    /** @type {Blocks|null} */ this.blocks = null;
    /** @type {HTMLElement|null} */ this.thinking = null;
    /** @type {HTMLElement|null} */ this.waiting = null;
    /** @type {Map<string, HTMLElement>} */ this.tools = new Map();
    /** @type {Map<string, HTMLElement>} */ this.asked = new Map();
    this.state = h("span", { class: "state" });
    this.facts = h("span", { class: "meta-facts" });
    this.actionsRow = h(
      "span",
      { class: "meta-actions" },
      iconButton("copy", text.copyReply, (event) => this.copy(event), { "data-key": "copy" }),
      iconButton("retry", text.retry, () => actions.onRetry(), { "data-key": "retry" }),
      iconButton("branch", text.retryWith, () => actions.onRetryWith(), { "data-key": "retry-with" }),
    );
    this.meta = h("footer", { class: "meta" }, this.state, this.actionsRow, this.facts);
    this.element = h("article", { class: "message from-model" }, h("h2", { class: "sr" }, text.reply), this.meta);
  }

  /** @param {any} event */
  copy(event) {
    copy(event.currentTarget, this.source.join("\n\n"), text.copied);
  }

  /** @param {Node} node */
  place(node) {
    this.meta.before(node);
  }

  /** @param {any} event one event of a turn */
  add(event) {
    const draw = this[`on_${event.type}`];
    if (this.waiting && event.type !== "waiting") this.clearWaiting();
    if (draw) draw.call(this, event);
  }

  // ---- what the model writes

  on_text_start() {
    this.closeSteps();
    this.source.push("");
    this.prose = h("div", { class: "prose", dir: "auto" });
    this.blocks = new Blocks(this.prose, (place, code) => copy(place, code, text.copied));
    this.place(this.prose);
  }

  on_text(event) {
    this.source[this.source.length - 1] += event.raw;
    this.blocks?.apply(event.ops);
    this.prose?.setAttribute("aria-busy", "true");
  }

  on_text_end(event) {
    if (event.raw !== undefined) this.source[this.source.length - 1] += event.raw;
    this.blocks?.apply(event.ops);
    this.prose?.removeAttribute("aria-busy");
    this.blocks = null;
    this.prose = null;
  }

  on_thinking(event) {
    if (!this.thinking) {
      this.thinking = h("div", { class: "step-body thinking", dir: "auto" });
      this.addStep("think", text.thinking, "", "running", this.thinking);
      this.thinking.closest("details")?.setAttribute("data-thinking", "");
    }
    this.thinking.append(event.text);
  }

  on_thinking_end(event) {
    const step = this.thinking?.closest(".step");
    if (step) setStep(step, "done", text.thought(event.seconds ? Math.max(1, Math.round(event.seconds)) : 0), "");
    this.thinking = null;
  }

  // ---- tools

  on_tool(event) {
    const argument = argumentOf(event.arguments);
    const body = h("div", { class: "step-body" }, h("pre", { tabindex: "0" }, written(event.arguments)));
    this.tools.set(event.id, this.addStep(toolIcon(event.name), event.name, argument, "running", body));
  }

  on_tool_result(event) {
    const step = this.tools.get(event.id);
    if (!step) return;
    const state = event.failed ? "failed" : "done";
    const label = event.failed ? text.toolFailed : text.done;
    const time = event.seconds === undefined ? "" : ` · ${text.seconds(event.seconds)}`;
    setStep(step, state, "", label + time);
    step.querySelector(".step-body")?.append(h("pre", { tabindex: "0" }, event.text));
  }

  on_ask(event) {
    const title = h("h3", { id: `ask-${event.ask}` }, event.title);
    const choices = { once: text.allowOnce, session: text.allowSession, always: text.allowAlways, no: text.deny };
    const row = h("div", { class: "approval-actions" });
    for (const choice of event.choices) {
      if (choice === "no") row.append(h("span", { class: "spacer" }));
      const kind = choice === "once" ? "primary" : choice === "no" ? "quiet" : "";
      const made = button(choices[choice] ?? choice, () => this.actions.onDecide(event.ask, choice), kind);
      made.dataset.choice = choice;
      if (choice === "once") made.append(h("kbd", {}, "Y"));
      if (choice === "no") made.append(h("kbd", {}, "N"));
      row.append(made);
    }
    const approval = h(
      "section",
      { class: "approval", tabindex: "-1", "aria-labelledby": `ask-${event.ask}`, "data-since": performance.now() },
      title,
      h("figure", { class: "code", dir: "ltr" }, h("pre", { tabindex: "0" }, h("code", {}, event.text))),
      event.facts.length > 0 && h("p", { class: "approval-facts" }, ...event.facts.map((fact) => h("span", {}, fact))),
      row,
    );
    const step = h(
      "li",
      { class: "step", "data-state": "asked" },
      h(
        "div",
        { class: "step-row" },
        icon("shield", "step-icon"),
        h("span", { class: "step-name" }, event.title.replace(/^Allow (.*)\?$/, "$1")),
        h("span", { class: "step-arg" }),
        h("span", { class: "step-state", role: "status" }, icon("clock"), text.waitsForYou),
      ),
      approval,
    );
    this.openSteps().append(step);
    this.asked.set(event.ask, step);
    this.actions.onAsked(approval);
  }

  on_answered(event) {
    const step = this.asked.get(event.ask);
    if (!step) return;
    const question = step.querySelector(".approval");
    const focused = question?.contains(document.activeElement);
    question?.remove();
    if (focused) this.actions.onAnswered();
    step.dataset.state = event.choice === "no" ? "denied" : "done";
    const state = step.querySelector(".step-state");
    state?.replaceChildren(event.choice === "no" ? text.denied : text.allowed);
  }

  /** @param {string} mark @param {string} name @param {string} argument @param {string} state @param {HTMLElement} body */
  addStep(mark, name, argument, state, body) {
    const step = h(
      "li",
      { class: "step", "data-state": state },
      h(
        "details",
        {},
        h(
          "summary",
          { class: "step-row" },
          icon(mark, "step-icon"),
          h("span", { class: "step-name" }, name),
          h("code", { class: "step-arg" }, argument),
          h("span", { class: "step-state" }, h("span", { class: "spinner" }), text.running),
          icon("right", "step-fold"),
        ),
        body,
      ),
    );
    this.openSteps().append(step);
    return step;
  }

  openSteps() {
    if (!this.steps) {
      this.steps = h("ol", { class: "steps" });
      this.place(this.steps);
    }
    return this.steps;
  }

  closeSteps() {
    this.steps = null;
  }

  // ---- what the program has to say

  on_waiting(event) {
    if (!this.waiting) {
      this.waiting = h("p", { class: "waiting" });
      this.place(this.waiting);
    }
    this.waiting.replaceChildren(h("span", { class: "spinner" }), text.waiting(event.text, event.seconds));
  }

  on_retry(event) {
    this.on_waiting({ text: text.retrying(event.attempt, event.delay, event.text), seconds: 0 });
    this.waiting?.replaceChildren(h("span", { class: "spinner" }), text.retrying(event.attempt, event.delay, event.text));
  }

  clearWaiting() {
    this.waiting?.remove();
    this.waiting = null;
  }

  on_seam(event) {
    this.closeSteps();
    const said = event.from ? text.continuedOn(event.text, event.model) : event.text;
    this.place(h("p", { class: "seam" }, icon("join"), h("span", {}, said)));
  }

  on_notice(event) {
    this.closeSteps();
    this.place(notice(event.level, [event.text]));
  }

  on_message_end(event) {
    this.model = event.model || this.model;
    this.output += event.usage?.output_tokens ?? 0;
    this.finish = event.finish;
    this.showFacts();
  }

  on_turn_end(event) {
    this.live(false);
    if (event.state === "stopped") this.offer("plain", [text.stopped], "pause");
    if (event.state === "failed") {
      const error = event.error ?? {};
      this.offer("bad", [error.message, error.hint].filter(Boolean), "fail", error.kind === "model_not_found");
    }
    this.seconds = Math.round((performance.now() - this.started) / 1000);
    this.showFacts();
  }

  /** @param {string} level @param {string[]} lines @param {string} mark @param {boolean} [choose] */
  offer(level, lines, mark, choose = false) {
    const begun = this.source.length > 0;
    const act = begun
      ? button(text.continue, () => this.actions.onContinue(), "", "play")
      : button(text.tryAgain, () => this.actions.onRetry(), "", "retry");
    const more = (choose || !begun) && button(text.chooseModel, () => this.actions.onChooseModel(), "quiet");
    this.place(notice(level, lines, mark, [act, more]));
  }

  /** Show an unfinished reply of an earlier visit as what it is. */
  markBroken() {
    this.element.dataset.complete = "";
    if (["interrupted", "truncated", "error"].includes(this.finish ?? "")) this.offer("plain", [text.broken], "pause");
  }

  /** Go on below a seam; the offer to continue is taken. @param {any} event */
  resume(event) {
    for (const old of this.element.querySelectorAll(".notice")) if (old.querySelector(".notice-actions")) old.remove();
    this.finish = undefined;
    this.on_seam(event);
    this.live(true);
  }

  /** @param {boolean} on */
  live(on) {
    this.state.replaceChildren();
    if (on) {
      this.state.dataset.state = "live";
      this.state.append(h("span", { class: "spinner" }), text.answering);
      delete this.element.dataset.complete;
    } else {
      delete this.state.dataset.state;
      this.element.dataset.complete = "";
    }
    this.actionsRow.hidden = on;
  }

  showFacts() {
    const facts = [shortModel(this.model), this.output > 0 && text.tokens(this.output)];
    if (this.seconds) facts.push(text.seconds(this.seconds));
    this.facts.replaceChildren(...facts.filter(Boolean).map((fact) => h("span", {}, fact)));
  }

  words() {
    return this.source.join(" ").split(/\s+/).filter(Boolean).length;
  }
}

/** @param {Element} step @param {string} state @param {string} name @param {string} said */
function setStep(step, state, name, said) {
  step.setAttribute("data-state", state);
  const label = step.querySelector(".step-name");
  if (name && label) label.textContent = name;
  const place = step.querySelector(".step-state");
  place?.replaceChildren();
  if (place && said) append(place, [icon(state === "failed" ? "fail" : "check"), said]);
}

/** @param {string} level @param {string[]} lines @param {string} [mark] @param {(Node|false|undefined)[]} [actions] */
export function notice(level, lines, mark, actions = []) {
  const marks = { info: "ok", plain: "pause", warn: "warn", bad: "fail" };
  const said = lines.map((line, place) => h("p", {}, place === 0 && level === "bad" ? h("strong", {}, line) : line));
  const row = h("div", { class: "notice-actions" });
  append(row, actions);
  return h(
    "div",
    { class: "notice", "data-kind": level, role: level === "bad" ? "alert" : undefined },
    icon(mark ?? marks[level] ?? "ok"),
    h("div", { class: "notice-text" }, ...said),
    row.childNodes.length > 0 && row,
  );
}

/** @param {string} name */
function toolIcon(name) {
  const word = Object.keys(TOOL_ICONS).find((start) => name.includes(start));
  return word ? TOOL_ICONS[word] : "plug";
}

/** @param {unknown} given */
function argumentOf(given) {
  if (typeof given === "string") return given;
  const values = Object.values(/** @type {object} */ (given ?? {}));
  return values.length > 0 ? written(values[0]).split("\n")[0].slice(0, 200) : "";
}

/** @param {unknown} value */
function written(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** @param {string} model */
export function shortModel(model) {
  return model.includes("/") ? model.slice(model.indexOf("/") + 1) : model;
}
