// The answers of two models to one question, side by side.

import { Blocks } from "./blocks.js";
import { button, copy, h, icon, iconButton } from "./dom.js";
import { notice } from "./reply.js";
import { shortModel } from "./states.js";
import { text } from "./text.js";

/** @import { CompareSide, CompareText } from "./wire.d.ts" */

export class Compare {
  /**
   * @param {string[]} models
   * @param {(model: string) => boolean} isLocal
   * @param {(side: number, act: "stop"|"keep") => void} onChoose
   */
  constructor(models, isLocal, onChoose) {
    this.sides = models.map((model, place) => new Side(model, place, isLocal(model), onChoose));
    this.element = h(
      "article",
      { class: "message from-model" },
      h("h2", { class: "sr" }, text.twoReplies),
      h("div", { class: "compare" }, ...this.sides.map((side) => side.element)),
    );
  }

  /** @param {CompareText|CompareSide} event */
  add(event) {
    const side = this.sides[event.side];
    if (event.type === "compare_text") side.write(event);
    else side.end(event);
  }
}

class Side {
  /**
   * @param {string} model
   * @param {number} place
   * @param {boolean} local
   * @param {(side: number, act: "stop"|"keep") => void} onChoose
   */
  constructor(model, place, local, onChoose) {
    this.local = local;
    this.source = "";
    this.state = h(
      "span",
      { class: "state", "data-state": "live" },
      h("span", { class: "spinner" }),
      text.answering,
    );
    this.act = iconButton("stop", text.stopThis, () => onChoose(place, "stop"));
    this.body = h("div", { class: "answer-body prose", dir: "auto", "aria-busy": "true" });
    this.facts = h("span", {});
    this.keep = /** @type {HTMLButtonElement} */ (
      button(text.keepThis, () => onChoose(place, "keep"))
    );
    this.keep.disabled = true;
    this.keep.title = text.keepLater;
    this.blocks = new Blocks(this.body, (at, code) => copy(at, code, text.copied));
    this.head = h(
      "header",
      { class: "answer-head" },
      icon(local ? "local" : "cloud"),
      h("h3", { id: `answer-${place}`, title: model }, shortModel(model)),
      this.state,
      h("span", { class: "spacer" }),
      this.act,
    );
    this.foot = h(
      "footer",
      { class: "answer-foot" },
      this.facts,
      h("span", { class: "spacer" }),
      this.keep,
    );
    this.element = h(
      "section",
      { class: "answer", "aria-labelledby": `answer-${place}`, "data-side": place },
      this.head,
      this.body,
      this.foot,
    );
  }

  /** @param {CompareText} event */
  write(event) {
    this.source += event.raw;
    this.blocks.apply(event.ops);
  }

  /** @param {CompareSide} event */
  end(event) {
    this.blocks.apply(event.ops);
    this.body.removeAttribute("aria-busy");
    const ended = {
      done: ["check", text.stepStates.done],
      stopped: ["pause", text.stoppedShort],
      failed: ["fail", text.stepStates.failed],
    }[event.state];
    this.state.dataset.state = event.state === "failed" ? "bad" : "";
    this.state.replaceChildren(icon(ended[0]), ended[1]);
    for (const note of event.notes) this.body.before(notice("info", [note]));
    if (event.error)
      this.body.append(notice("bad", [event.error.message, event.error.hint].filter(Boolean)));
    this.act.replaceWith(
      iconButton("copy", text.copyReply, (click) =>
        copy(/** @type {HTMLElement} */ (click.currentTarget), this.source, text.copied),
      ),
    );
    this.facts.textContent = [
      event.tokens && text.tokens(event.tokens),
      text.seconds(event.seconds),
      this.local ? text.free : event.cost !== null && text.dollars(event.cost),
    ]
      .filter(Boolean)
      .join("  ·  ");
    this.keep.disabled = !event.answered;
    this.keep.title = event.answered ? "" : text.nothingToKeep;
  }
}
