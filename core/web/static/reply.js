// A reply while it streams: text, notices, interruptions, and the line of facts under it.

import { Blocks } from "./blocks.js";
import { append, button, copy, h, icon, iconButton } from "./dom.js";
import { PullOffer } from "./pulls.js";
import { shortModel } from "./states.js";
import { Steps } from "./steps.js";
import { text } from "./text.js";

/** @import { Continued, MessageEnd, NoticeEvent, ReplyEvent, RetryEvent } from "./wire.d.ts" */
/** @import { SeamEvent, TextEnd, TextEvent, TurnEnd, WaitingEvent } from "./wire.d.ts" */
/** @import { StepActions } from "./steps.js" */

/**
 * @typedef {StepActions & {
 *   onContinue: () => void,
 *   onRetry: () => void,
 *   onRetryWith: () => void,
 *   onChooseModel: () => void
 * }} ReplyActions
 */

export class Reply {
  /** @param {ReplyActions} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {string[]} */ this.source = [];
    this.model = "";
    this.output = 0;
    this.started = performance.now();
    this.steps = new Steps(actions, (node) => this.place(node));
    /** @type {HTMLElement|null} */ this.prose = null;
    /** @type {Blocks|null} */ this.blocks = null;
    /** @type {HTMLElement|null} */ this.waiting = null;
    this.state = h("span", { class: "state" });
    this.facts = h("span", { class: "meta-facts" });
    this.actionsRow = h(
      "span",
      { class: "meta-actions" },
      iconButton("copy", text.copyReply, (event) => this.copy(event), { "data-key": "copy" }),
      iconButton("retry", text.retry, () => actions.onRetry(), { "data-key": "retry" }),
      iconButton("branch", text.retryWith, () => actions.onRetryWith(), {
        "data-key": "retry-with",
      }),
    );
    this.meta = h("footer", { class: "meta" }, this.state, this.actionsRow, this.facts);
    this.element = h(
      "article",
      { class: "message from-model" },
      h("h2", { class: "sr" }, text.reply),
      this.meta,
    );
  }

  /** @param {Event} event */
  copy(event) {
    copy(/** @type {HTMLElement} */ (event.currentTarget), this.source.join("\n\n"), text.copied);
  }

  /** @param {Node} node */
  place(node) {
    this.meta.before(node);
  }

  /** @param {ReplyEvent} event one event of a turn */
  add(event) {
    const name = `on_${event.type}`;
    /** @type {any} */ const part = name in this ? this : this.steps;
    if (this.waiting && event.type !== "waiting") this.clearWaiting();
    part[name]?.(event);
  }

  // ---- the model's text

  on_text_start() {
    this.steps.close();
    this.source.push("");
    this.prose = h("div", { class: "prose", dir: "auto" });
    this.blocks = new Blocks(this.prose, (place, code) => copy(place, code, text.copied));
    this.place(this.prose);
  }

  /** @param {TextEvent} event */
  on_text(event) {
    this.source[this.source.length - 1] += event.raw;
    this.blocks?.apply(event.ops);
    this.prose?.setAttribute("aria-busy", "true");
  }

  /** @param {TextEnd} event */
  on_text_end(event) {
    if (event.raw !== undefined) this.source[this.source.length - 1] += event.raw;
    this.blocks?.apply(event.ops);
    this.prose?.removeAttribute("aria-busy");
    this.blocks = null;
    this.prose = null;
  }

  // ---- notices of the program

  /** @param {Omit<WaitingEvent, "type">} event */
  on_waiting(event) {
    if (!this.waiting) {
      this.waiting = h("p", { class: "waiting" });
      this.place(this.waiting);
    }
    this.waiting.replaceChildren(
      h("span", { class: "spinner" }),
      text.waiting(event.text, event.seconds),
    );
  }

  /** @param {RetryEvent} event */
  on_retry(event) {
    this.on_waiting({ text: text.retrying(event.attempt, event.delay, event.text), seconds: 0 });
    this.waiting?.replaceChildren(
      h("span", { class: "spinner" }),
      text.retrying(event.attempt, event.delay, event.text),
    );
  }

  clearWaiting() {
    this.waiting?.remove();
    this.waiting = null;
  }

  /** @param {SeamEvent} event */
  on_seam(event) {
    this.steps.close();
    const said = event.from ? text.continuedOn(event.text, event.model ?? "") : event.text;
    this.place(h("p", { class: "seam" }, icon("join"), h("span", {}, said)));
  }

  /** @param {NoticeEvent} event */
  on_notice(event) {
    this.steps.close();
    this.place(notice(event.level, [event.text]));
  }

  /** @param {MessageEnd} event */
  on_message_end(event) {
    this.model = event.model || this.model;
    this.output += event.usage?.output_tokens ?? 0;
    this.finish = event.finish;
    this.showFacts();
  }

  /** @param {TurnEnd} event */
  on_turn_end(event) {
    this.live(false);
    this.steps.end();
    if (event.state === "stopped") this.offer("plain", [text.stopped], "pause");
    if (event.state === "failed") {
      const { message = text.failed, hint = "", kind = "", pull = "" } = event.error ?? {};
      const lines = [message, pull ? "" : hint].filter(Boolean);
      this.offer("bad", lines, "fail", kind === "model_not_found", pull);
    }
    this.seconds = Math.round((performance.now() - this.started) / 1000);
    this.showFacts();
  }

  /**
   * @param {string} level
   * @param {string[]} lines
   * @param {string} mark
   * @param {boolean} [choose] whether to offer another model
   * @param {string} [pull] the model to offer for download
   */
  offer(level, lines, mark, choose = false, pull = "") {
    const begun = this.source.length > 0;
    const act = begun
      ? button(text.continue, () => this.actions.onContinue(), "", "play")
      : button(text.tryAgain, () => this.actions.onRetry(), "", "retry");
    const more =
      (choose || !begun) && button(text.chooseModel, () => this.actions.onChooseModel(), "quiet");
    const offer = pull ? new PullOffer(pull, () => this.pulled(act)) : null;
    const shown = notice(level, lines, mark, [offer?.button, act, more]);
    if (offer) shown.querySelector(".notice-text")?.append(offer.progress);
    this.place(shown);
  }

  /** Ask again with the model that was missing, if nothing else was asked. @param {Element} act */
  pulled(act) {
    if (act.isConnected && !this.element.nextElementSibling?.matches(".message"))
      this.actions.onRetry();
  }

  /** Mark a reply of an earlier visit as unfinished. */
  markBroken() {
    this.element.dataset.complete = "";
    if (["interrupted", "truncated", "error"].includes(this.finish ?? ""))
      this.offer("plain", [text.broken], "pause");
  }

  /** Continue below the break, and remove the offer to continue. @param {Continued} event */
  resume(event) {
    for (const old of this.element.querySelectorAll(".notice"))
      if (old.querySelector(".notice-actions")) old.remove();
    this.finish = undefined;
    this.on_seam({ type: "seam", text: event.text });
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

/**
 * @param {string} level
 * @param {string[]} lines
 * @param {string} [mark]
 * @param {(Node|false|undefined)[]} [actions]
 */
export function notice(level, lines, mark, actions = []) {
  /** @type {Record<string, string>} */ const marks = {
    note: "file",
    info: "ok",
    plain: "pause",
    warn: "warn",
    bad: "fail",
  };
  const said = lines.map((line, place) =>
    h("p", {}, place === 0 && level === "bad" ? h("strong", {}, line) : line),
  );
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
