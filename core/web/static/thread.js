// The conversation: draws events as messages, and follows the end while it is in view.

import { Compare } from "./compare.js";
import { h } from "./dom.js";
import { question, unsent } from "./question.js";
import { Reply, notice } from "./reply.js";
import { Stretch } from "./stretch.js";
import { text } from "./text.js";
import { showVersions } from "./versions.js";

/** @import { ReplyActions } from "./reply.js" */
/** @import { Reading } from "./stretch.js" */
/** @import { CompareStart, Continued, ThreadEvent, TurnEnd, TurnStart } from "./wire.d.ts" */
/** @import { UserEvent, Versions } from "./wire.d.ts" */

const SLICE = 4; // milliseconds of a frame in which events are drawn; the browser needs the rest
const PIECE = 200; // operations that are drawn without a look at the clock
const SETTLING = 6; // frames in which a conversation that was just drawn gets its height

/**
 * @typedef {ReplyActions & {
 *   onEdit: (place: number, text: string) => Promise<boolean>,
 *   onEarlier: (first: number) => Promise<void>,
 *   onLater: (end: number) => Promise<void>,
 *   onLatest: () => Promise<void>,
 *   onVersion: (place: number, version: string) => void,
 *   isLocal: (model: string) => boolean,
 *   onChoose: (side: number, act: "stop"|"keep") => void
 * }} Actions
 */

export class Thread {
  /** @param {HTMLElement} scroller @param {HTMLElement} jump @param {Actions} actions */
  constructor(scroller, jump, actions) {
    this.scroller = scroller;
    this.jump = jump;
    this.actions = actions;
    this.element = h("div", { class: "thread" });
    this.end = h("div", { class: "thread-end" });
    this.status = h("p", { class: "sr", role: "status" });
    this.stretch = new Stretch(scroller, this.element, actions);
    const { top, bottom } = this.stretch;
    scroller.replaceChildren(top, this.element, bottom, this.end, this.status);
    /** @type {Reply|null} */ this.reply = null;
    /** @type {Compare|null} */ this.compare = null;
    this.model = "";
    this.pending = false; // a turn began whose reply is not drawn yet
    this.following = true;
    /** @type {ThreadEvent[]} */ this.waiting = [];
    this.frame = 0;
    /** @type {Reading|null} */ this.goal = null; // what is kept in its place after drawing
    this.atEnd = true; // whether the end is in sight
    this.watchEnd("80px", (seen) => {
      this.atEnd = seen;
      this.showJump();
    });
    this.watchEnd("0px", (seen) => {
      if (seen && this.stretch.isNewest) this.following = true;
    });
    const letGo = () => {
      this.following = false;
      this.goal = null;
    };
    scroller.addEventListener(
      "wheel",
      (event) => {
        this.goal = null;
        if (event.deltaY < 0) letGo();
      },
      { passive: true },
    );
    scroller.addEventListener("touchmove", letGo, { passive: true });
    scroller.addEventListener("keydown", (event) => {
      if (["ArrowUp", "PageUp", "Home"].includes(event.key)) letGo();
    });
    jump.addEventListener("click", () => this.toEnd());
  }

  /**
   * @param {string} margin
   * @param {(seen: boolean) => void} act what follows from whether the end is in sight
   */
  watchEnd(margin, act) {
    const watch = (/** @type {IntersectionObserverEntry[]} */ entries) =>
      act(entries[entries.length - 1].isIntersecting);
    new IntersectionObserver(watch, { root: this.scroller, rootMargin: margin }).observe(this.end);
  }

  /** Offer to jump to the newest text while it is out of view. */
  showJump() {
    this.jump.toggleAttribute("data-shown", !this.atEnd || !this.stretch.isNewest);
  }

  clear() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.waiting = [];
    this.reply = null;
    this.compare = null;
    this.element.replaceChildren();
    this.stretch.set(0, null);
  }

  /** The message being read, if the user has scrolled away from the end; else null. */
  reading() {
    return this.following ? null : this.stretch.reading();
  }

  /**
   * Draw a part of a stored conversation.
   * @param {ThreadEvent[]} events
   * @param {number} first the place of the first message in it
   * @param {number|null} end the place after the last one; null: the newest
   * @param {Reading|null} read what is read: it stays where it is
   */
  draw(events, first, end, read) {
    this.clear();
    for (const event of events) this.show(event);
    if (end === null) this.settle();
    else this.endReply();
    this.stretch.set(first, end);
    this.showJump();
    if (read && this.stretch.readOn(read)) this.stayAt(read);
    else if (end === null) this.toEnd();
  }

  /** End the last reply: what is drawn next does not belong to it. */
  endReply() {
    this.reply?.markBroken();
    this.reply = null;
  }

  /** Scroll a message to the top of the screen, and mark it. @param {number} place */
  goTo(place) {
    const before = this.stretch.messages().filter((one) => Number(one.dataset.place) <= place);
    const message = before[before.length - 1];
    if (!message) return;
    message.dataset.found = "";
    const top = this.scroller.getBoundingClientRect().top;
    this.stayAt({ place: Number(message.dataset.place), top });
  }

  /** Keep a message at its position on the screen. @param {Reading} read */
  stayAt(read) {
    this.following = false;
    this.goal = read;
    this.hold(read, SETTLING);
  }

  /**
   * Keep it while the messages around it are laid out, or until the user scrolls.
   * @param {Reading} read
   * @param {number} frames
   */
  hold(read, frames) {
    if (this.goal !== read || frames === 0) return;
    this.stretch.readOn(read);
    requestAnimationFrame(() => this.hold(read, frames - 1));
  }

  /**
   * Insert earlier messages without moving the text being read.
   * @param {ThreadEvent[]} events
   * @param {number} first
   */
  prepend(events, first) {
    const made = this.drawApart(events);
    this.stretch.prepend(made, first);
    if (!this.stretch.isNewest) this.reply = null;
  }

  /**
   * Append later messages without moving the text being read.
   * @param {ThreadEvent[]} events
   * @param {number} end the place after the last of them
   */
  append(events, end) {
    this.stretch.append(this.drawApart(events), end);
  }

  /** Draw messages beside the conversation. @param {ThreadEvent[]} events @returns {Node[]} */
  drawApart(events) {
    const { element, reply } = this;
    this.element = h("div");
    this.reply = null;
    for (const event of events) this.show(event);
    /** @type {Reply|null} */ (this.reply)?.markBroken();
    const made = [...this.element.childNodes];
    this.element = element;
    this.reply = reply;
    return made;
  }

  /** Draw new events, once per frame. @param {ThreadEvent[]} events */
  add(events) {
    if (!this.stretch.isNewest) return; // it is drawn when the reader returns to the end
    for (const event of events) this.waiting.push(...pieces(event));
    if (document.hidden) this.flush();
    else if (!this.frame) this.frame = requestAnimationFrame(() => this.flush());
  }

  /** Draw pending events for as long as a frame allows; the rest in the next frame. */
  flush() {
    this.frame = 0;
    const until = performance.now() + SLICE;
    let count = 0;
    let asked = false;
    while (count < this.waiting.length && (document.hidden || performance.now() < until)) {
      const event = this.waiting[count++];
      asked ||= event.type === "user";
      this.show(event);
    }
    this.waiting.splice(0, count);
    if (asked) this.toEnd();
    else if (this.following) this.scroller.scrollTop = 1e9;
    if (this.waiting.length > 0) this.frame = requestAnimationFrame(() => this.flush());
  }

  /** @param {ThreadEvent} event */
  show(event) {
    if (event.type === "user") this.addUser(event);
    else if (event.type === "turn_start") this.begin(event);
    else if (event.type === "cut") this.cut(event.place);
    else if (event.type === "reply") this.addReply(event.place, event.versions);
    else if (event.type === "versions") this.showVersions(event.places);
    else if (event.type === "continued") this.continueReply(event);
    else if (event.type === "turn_end") this.finish(event);
    else if (event.type === "compare") this.addCompare(event);
    else if (event.type === "compare_text" || event.type === "compare_side")
      this.compare?.add(event);
    else if (this.reply) this.reply.add(event);
    else if (event.type === "notice") this.element.append(notice(event.level, [event.text]));
  }

  /** @param {TurnStart} event */
  begin(event) {
    this.model = event.model;
    this.status.textContent = text.replying;
    this.pending = true;
  }

  /** Remove messages that are no longer part of the conversation. @param {number} place */
  cut(place) {
    const messages = [...this.element.querySelectorAll(":scope > .message[data-place]")];
    let node =
      messages.find((message) => Number(message.getAttribute("data-place")) >= place) ?? null;
    while (node) {
      const next = node.nextElementSibling;
      node.remove();
      node = next;
    }
    this.reply = null;
  }

  /** @param {Record<string, Versions>} places */
  showVersions(places) {
    for (const [place, versions] of Object.entries(places)) {
      const message = /** @type {HTMLElement|null} */ (
        this.element.querySelector(`.message[data-place="${Number(place)}"]`)
      );
      if (message) showVersions(message, versions, this.actions.onVersion);
    }
  }

  /** @param {number} place @param {Versions} [versions] */
  addReply(place, versions) {
    this.reply?.markBroken();
    this.dropFailed(place);
    const reply = new Reply(this.actions);
    reply.element.dataset.place = String(place);
    this.reply = reply;
    showVersions(reply.element, versions, this.actions.onVersion);
    this.element.append(reply.element);
    if (this.pending) {
      this.pending = false;
      reply.model = this.model;
      reply.live(true);
      reply.showFacts();
    }
  }

  /** Remove a failed reply, which another one now follows. @param {number} place */
  dropFailed(place) {
    const failed = this.element.querySelector(`.message.from-model[data-place="${place}"]`);
    const focused = failed?.contains(document.activeElement);
    failed?.remove();
    if (focused) this.actions.onAnswered();
  }

  /** Continue the last reply where it was cut off. @param {Continued} event */
  continueReply(event) {
    if (!this.reply) this.addReply(0);
    this.pending = false;
    this.reply?.resume(event);
  }

  /** @param {CompareStart} event */
  addCompare(event) {
    this.pending = false;
    if (event.question) this.addUser(event.question);
    this.compare = new Compare(event.models, this.actions.isLocal, this.actions.onChoose);
    this.element.append(this.compare.element);
    this.toEnd();
  }

  /** @param {TurnEnd} event */
  finish(event) {
    const both = event.state === "compared";
    if (!both) this.reply?.add(event);
    this.status.textContent = both ? text.twoReplies : text.replyComplete(this.reply?.words() ?? 0);
    if (this.following) this.stretch.dropFirst();
  }

  /** Offer to continue an unfinished last reply, after drawing a stored conversation. */
  settle() {
    if (!this.reply || this.reply.state.dataset.state) return;
    this.reply.element.dataset.complete = "";
    if (!this.reply.element.querySelector(".notice-actions")) this.reply.markBroken();
  }

  /** @param {UserEvent} event */
  addUser(event) {
    const known =
      event.key && this.element.querySelector(`[data-message="${CSS.escape(event.key)}"]`);
    if (known) known.remove();
    const article = question(event, this.actions.onEdit);
    this.reply?.markBroken();
    showVersions(article, event.versions, this.actions.onVersion);
    this.element.append(article);
  }

  /** Show a message before the server has it. @param {string} key @param {string} said */
  addUnsent(key, said) {
    if (this.stretch.isNewest) this.element.append(unsent(key, said));
    this.toEnd();
  }

  /** Show something that is not part of the conversation at its end. @param {HTMLElement} shown */
  async addNote(shown) {
    if (!this.stretch.isNewest) await this.actions.onLatest();
    this.element.append(shown);
    this.toEnd();
  }

  /** Remove such a message: the server did not accept it. @param {string} key */
  dropUnsent(key) {
    this.element.querySelector(`[data-message="${CSS.escape(key)}"][data-state=sending]`)?.remove();
  }

  /**
   * Scroll to the end, and stay there while messages are laid out.
   * @param {number} [frames]
   */
  toEnd(frames = SETTLING) {
    this.following = true;
    this.goal = null;
    if (!this.stretch.isNewest) return void this.actions.onLatest();
    this.scroller.scrollTop = 1e9;
    if (frames > 0)
      requestAnimationFrame(() => {
        if (this.following) this.toEnd(frames - 1);
      });
  }
}

/** Split a large event into several smaller ones. @param {ThreadEvent} event */
function pieces(event) {
  if (event.type !== "text" || event.ops.length <= PIECE) return [event];
  /** @type {ThreadEvent[]} */ const found = [];
  for (let at = 0; at < event.ops.length; at += PIECE) {
    const raw = at === 0 ? event.raw : "";
    found.push({ type: "text", raw, ops: event.ops.slice(at, at + PIECE) });
  }
  return found;
}
