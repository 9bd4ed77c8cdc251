// The steps of a reply: thinking, tool calls with their questions and results.

import { append, button, h, icon } from "./dom.js";
import { text } from "./text.js";

/** @import { AnsweredEvent, AskEvent, ThinkingEnd, ThinkingEvent } from "./wire.d.ts" */
/** @import { ToolEvent, ToolResult } from "./wire.d.ts" */

/** @type {Record<string, string>} */
const TOOL_ICONS = {
  read: "file",
  list: "file",
  search: "web",
  fetch: "web",
  run: "terminal",
  query: "chart",
};

/** The icon of a state. @type {Record<string, string>} */
const MARKS = { failed: "fail", denied: "close" };

/**
 * @typedef {{
 *   onDecide: (ask: string, choice: string) => void,
 *   onAsked: (question: HTMLElement) => void,
 *   onAnswered: () => void
 * }} StepActions
 */

export class Steps {
  /** @param {StepActions} actions @param {(node: Node) => void} place puts a list into the reply */
  constructor(actions, place) {
    this.actions = actions;
    this.place = place;
    /** @type {HTMLElement|null} */ this.list = null;
    /** @type {HTMLElement|null} */ this.thinking = null;
    /** @type {Map<string, HTMLElement>} */ this.tools = new Map();
    /** @type {Map<string, HTMLElement>} */ this.asked = new Map();
  }

  /** @param {ThinkingEvent} event */
  on_thinking(event) {
    if (!this.thinking) {
      this.thinking = h("div", { class: "step-body thinking", dir: "auto" });
      this.addStep("think", text.thinking, "", "running", this.thinking);
      this.thinking.closest("details")?.setAttribute("data-thinking", "");
    }
    this.thinking.append(event.text);
  }

  /** @param {ThinkingEnd} event */
  on_thinking_end(event) {
    const step = this.thinking?.closest(".step");
    if (step)
      setStep(
        step,
        "done",
        text.thought(event.seconds ? Math.max(1, Math.round(event.seconds)) : 0),
        "",
      );
    this.thinking = null;
  }

  /** @param {ToolEvent} event */
  on_tool(event) {
    const argument = argumentOf(event.arguments);
    const body = h(
      "div",
      { class: "step-body" },
      h("pre", { tabindex: "0" }, written(event.arguments)),
    );
    this.tools.set(
      event.id,
      this.addStep(toolIcon(event.name), event.name, argument, "running", body),
    );
  }

  /** @param {ToolResult} event */
  on_tool_result(event) {
    const step = this.tools.get(event.id);
    if (!step) return;
    const ran = event.seconds !== undefined && event.state !== "denied";
    setStep(
      step,
      event.state,
      "",
      text.stepStates[event.state] + (ran ? ` · ${text.seconds(event.seconds ?? 0)}` : ""),
    );
    step.querySelector(".step-body")?.append(h("pre", { tabindex: "0" }, event.text));
  }

  /** @param {AskEvent} event */
  on_ask(event) {
    const title = h("h3", { id: `ask-${event.ask}` }, event.title);
    /** @type {Record<string, string>} */ const choices = {
      once: text.allowOnce,
      session: text.allowSession,
      always: text.allowAlways,
      no: text.deny,
    };
    /** @type {Record<string, string>} */ const kinds = text.kinds;
    const row = h("div", { class: "approval-actions" });
    for (const choice of event.choices) {
      if (choice === "no") row.append(h("span", { class: "spacer" }));
      const kind = choice === "once" ? "primary" : choice === "no" ? "quiet" : "";
      const made = button(
        choices[choice] ?? choice,
        () => this.actions.onDecide(event.ask, choice),
        kind,
      );
      made.dataset.choice = choice;
      if (choice === "once") made.append(h("kbd", {}, "Y"));
      if (choice === "no") made.append(h("kbd", {}, "N"));
      row.append(made);
    }
    const approval = h(
      "section",
      {
        class: "approval",
        tabindex: "-1",
        "aria-labelledby": `ask-${event.ask}`,
        "data-since": performance.now(),
      },
      title,
      h(
        "figure",
        { class: "code", dir: "ltr" },
        h("pre", { tabindex: "0" }, h("code", {}, event.text)),
      ),
      event.facts.length > 0 &&
        h(
          "p",
          { class: "approval-facts" },
          ...event.facts.map((fact) => h("span", {}, kinds[fact] ?? fact)),
        ),
      row,
    );
    const step = this.calling(event) ?? this.addQuestion(event.title);
    step.dataset.state = "asked";
    const state = step.querySelector(".step-state");
    state?.setAttribute("role", "status");
    state?.replaceChildren(icon("clock"), text.waitsForYou);
    step.append(approval);
    this.asked.set(event.ask, step);
    this.actions.onAsked(approval);
  }

  /** @param {AnsweredEvent} event */
  on_answered(event) {
    const step = this.asked.get(event.ask);
    if (!step) return;
    const question = step.querySelector(".approval");
    const focused = question?.contains(document.activeElement);
    question?.remove();
    if (focused) this.actions.onAnswered();
    if (event.choice === "no") setStep(step, "denied", "", text.stepStates.denied);
    else if (step.querySelector("details") === null) setStep(step, "done", "", text.allowed);
    else {
      step.dataset.state = "running";
      step
        .querySelector(".step-state")
        ?.replaceChildren(h("span", { class: "spinner" }), text.running);
    }
  }

  /** The turn has ended: calls without a result have none any more. */
  end() {
    for (const step of this.tools.values())
      if (step.dataset.state === "running" || step.dataset.state === "asked")
        setStep(step, "failed", "", text.stepStates.failed);
  }

  /** The step of the tool call that a question is about. @param {AskEvent} event */
  calling(event) {
    const waiting = [...this.tools.values()].filter(
      (step) =>
        step.dataset.state === "running" &&
        toolIn(event.title) === step.querySelector(".step-name")?.textContent,
    );
    const same = waiting.find((step) =>
      event.text.includes(step.querySelector(".step-arg")?.textContent ?? ""),
    );
    return same ?? waiting[0];
  }

  /** A step for a question that belongs to no tool call. @param {string} title */
  addQuestion(title) {
    const step = h(
      "li",
      { class: "step" },
      h(
        "div",
        { class: "step-row" },
        icon("shield", "step-icon"),
        h("span", { class: "step-name" }, toolIn(title)),
        h("span", { class: "step-arg" }),
        h("span", { class: "step-state" }),
      ),
    );
    this.open().append(step);
    return step;
  }

  /**
   * @param {string} mark
   * @param {string} name
   * @param {string} argument
   * @param {string} state
   * @param {HTMLElement} body
   */
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
    this.open().append(step);
    return step;
  }

  open() {
    if (!this.list) {
      this.list = h("ol", { class: "steps" });
      this.place(this.list);
    }
    return this.list;
  }

  /** End the list; text follows, and the next step begins a new list. */
  close() {
    this.list = null;
  }
}

/** @param {Element} step @param {string} state @param {string} name @param {string} said */
function setStep(step, state, name, said) {
  step.setAttribute("data-state", state);
  const label = step.querySelector(".step-name");
  if (name && label) label.textContent = name;
  const place = step.querySelector(".step-state");
  place?.replaceChildren();
  if (place && said) append(place, [icon(MARKS[state] ?? "check"), said]);
}

/** The tool that a question names. @param {string} title */
function toolIn(title) {
  return title.replace(/^Allow (.*)\?$/, "$1");
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
