// The conversation: draws events as messages, and follows the end while the reader is there.

import { Compare } from "./compare.js";
import { button, copy, h, icon, iconButton } from "./dom.js";
import { Reply, notice } from "./reply.js";
import { text } from "./text.js";
import { showVersions } from "./versions.js";

/** @import { ReplyActions } from "./reply.js" */
/** @import { CompareStart, Continued, ThreadEvent, TurnEnd, TurnStart } from "./wire.d.ts" */
/** @import { UserEvent, Versions } from "./wire.d.ts" */

const SETTLING = 6; // frames in which a conversation that was just drawn gets its height
const LONG = 1200; // characters from which a message of the user is folded

/**
 * @typedef {ReplyActions & {
 *   onEdit: (place: number, text: string) => Promise<boolean>,
 *   onEarlier: (first: number) => void,
 *   onVersion: (place: number, version: string) => void,
 *   isLocal: (model: string) => boolean,
 *   onChoose: (side: number, act: "stop"|"keep") => void
 * }} Actions
 */

export class Thread {
  /** @param {HTMLElement} scroller @param {HTMLElement} jump @param {Actions} actions */
  constructor(scroller, jump, actions) {
    this.scroller = scroller;
    this.actions = actions;
    this.element = h("div", { class: "thread" });
    this.end = h("div", { class: "thread-end" });
    this.status = h("p", { class: "sr", role: "status" });
    scroller.replaceChildren(this.element, this.end, this.status);
    /** @type {Reply|null} */ this.reply = null;
    /** @type {Compare|null} */ this.compare = null;
    this.model = "";
    this.pending = false; // a turn began whose reply is not drawn yet
    this.following = true;
    /** @type {ThreadEvent[]} */ this.waiting = [];
    this.frame = 0;
    this.watchEnd("80px", (seen) => jump.toggleAttribute("data-shown", !seen));
    this.watchEnd("0px", (seen) => {
      if (seen) this.following = true;
    });
    const letGo = () => {
      this.following = false;
    };
    scroller.addEventListener(
      "wheel",
      (event) => {
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

  clear() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.waiting = [];
    this.reply = null;
    this.compare = null;
    this.element.replaceChildren();
  }

  /**
   * Draw a stored conversation at once.
   * @param {ThreadEvent[]} events
   * @param {number} first
   * @param {boolean} again whether it is on the screen already: who reads in the middle stays
   *   there
   */
  draw(events, first, again) {
    const place = again && !this.following ? this.scroller.scrollTop : null;
    this.clear();
    if (first > 0)
      this.element.append(
        button(text.earlier, () => this.actions.onEarlier(first), "quiet", "latest"),
      );
    for (const event of events) this.show(event);
    this.settle();
    this.toEnd();
    if (place === null) return;
    this.following = false;
    this.scroller.scrollTop = place;
  }

  /**
   * Put earlier messages in front, without moving what is read.
   * @param {ThreadEvent[]} events
   * @param {number} first
   */
  prepend(events, first) {
    const kept = [...this.element.childNodes].slice(1);
    const reply = this.reply;
    const height = this.scroller.scrollHeight;
    this.element.replaceChildren();
    if (first > 0)
      this.element.append(
        button(text.earlier, () => this.actions.onEarlier(first), "quiet", "latest"),
      );
    this.reply = null;
    for (const event of events) this.show(event);
    this.element.append(...kept);
    this.reply = reply;
    this.scroller.scrollTop += this.scroller.scrollHeight - height;
  }

  /** Draw what just happened, once a frame. @param {ThreadEvent[]} events */
  add(events) {
    this.waiting.push(...events);
    if (document.hidden) this.flush();
    else if (!this.frame) this.frame = requestAnimationFrame(() => this.flush());
  }

  flush() {
    this.frame = 0;
    const events = this.waiting;
    this.waiting = [];
    for (const event of events) this.show(event);
    if (this.following) this.scroller.scrollTop = 1e9;
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

  /** Take away what is not part of the conversation any more. @param {number} place */
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

  /** The last reply is finished from where it was cut off. @param {Continued} event */
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
  }

  /** After a stored conversation is drawn: an unfinished last reply offers to continue. */
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
    const bubble = h(
      "div",
      { class: "bubble prose", dir: "auto", "data-long": event.text.length > LONG },
      h("p", { class: "plain" }, event.text),
    );
    const images = (event.images ?? []).map((image) =>
      h("img", {
        src: `data:${image.media};base64,${image.data}`,
        alt: image.name || "Image",
        width: "176",
        height: "112",
        class: "attachment-image",
      }),
    );
    const files = (event.files ?? []).map((name) =>
      h(
        "span",
        { class: "file" },
        icon("file"),
        h("span", { class: "file-name", title: name }, name),
      ),
    );
    const meta = h(
      "footer",
      { class: "meta meta-user" },
      h(
        "span",
        { class: "meta-actions" },
        iconButton("copy", text.copyMessage, (click) =>
          copy(/** @type {HTMLElement} */ (click.currentTarget), event.text, text.copied),
        ),
        event.place >= 0 &&
          iconButton("edit", text.edit, () => this.editIn(article, event.place, event.text), {
            "data-key": "edit",
          }),
      ),
    );
    const article = h(
      "article",
      { class: "message from-user", "data-message": event.key, "data-place": event.place },
      h("h2", { class: "sr" }, text.you),
      images.length + files.length > 0 && h("div", { class: "attachments" }, ...images, ...files),
      bubble,
      meta,
    );
    if (event.text.length > LONG) {
      const open = button(
        "",
        () => {
          bubble.toggleAttribute("data-open");
          label();
        },
        "small quiet",
      );
      const label = () => {
        open.textContent = bubble.hasAttribute("data-open")
          ? "Show less"
          : `Show all, ${text.words(event.text.split(/\s+/).length)}`;
      };
      label();
      meta.prepend(open);
    }
    this.reply?.markBroken();
    showVersions(article, event.versions, this.actions.onVersion);
    this.element.append(article);
    this.toEnd();
  }

  /**
   * Write a message anew in its place; nothing changes before it is sent.
   * @param {HTMLElement} article
   * @param {number} place
   * @param {string} said
   */
  editIn(article, place, said) {
    if (article.querySelector(".edit")) return;
    const box = /** @type {HTMLTextAreaElement} */ (
      h("textarea", { class: "edit-text", dir: "auto", rows: "3", "aria-label": text.edit })
    );
    box.value = said;
    const close = () => {
      form.remove();
      for (const part of hidden) part.hidden = false;
      /** @type {HTMLElement|null} */ (article.querySelector("[data-key=edit]"))?.focus();
    };
    const send = async () => {
      if (box.value.trim() && (await this.actions.onEdit(place, box.value))) close();
    };
    const form = h(
      "form",
      {
        class: "edit",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          send();
        },
      },
      box,
      h(
        "div",
        { class: "edit-actions" },
        button(text.cancel, close, "quiet"),
        h("button", { class: "button primary", type: "submit" }, text.askAgain),
      ),
    );
    box.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && !event.shiftKey) send();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    const hidden = /** @type {HTMLElement[]} */ ([
      article.querySelector(".bubble"),
      article.querySelector(".meta"),
    ]);
    for (const part of hidden) part.hidden = true;
    article.append(form);
    box.focus();
    box.setSelectionRange(said.length, said.length);
  }

  /** Show a message before the server has it. @param {string} key @param {string} said */
  addUnsent(key, said) {
    this.element.append(
      h(
        "article",
        { class: "message from-user", "data-message": key, "data-state": "sending" },
        h("h2", { class: "sr" }, text.you),
        h("div", { class: "bubble prose", dir: "auto" }, h("p", { class: "plain" }, said)),
        h(
          "footer",
          { class: "meta meta-user" },
          h("span", { class: "state" }, icon("clock"), text.saving),
        ),
      ),
    );
    this.toEnd();
  }

  /** Take such a message away again: the server did not accept it. @param {string} key */
  dropUnsent(key) {
    this.element.querySelector(`[data-message="${CSS.escape(key)}"][data-state=sending]`)?.remove();
  }

  /**
   * Go to the end, and stay there while messages that were not on the screen yet get their
   * heights.
   * @param {number} [frames]
   */
  toEnd(frames = SETTLING) {
    this.following = true;
    this.scroller.scrollTop = 1e9;
    if (frames > 0)
      requestAnimationFrame(() => {
        if (this.following) this.toEnd(frames - 1);
      });
  }
}
