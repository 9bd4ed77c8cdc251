// The part of a long conversation that is on the page: it grows when an end comes near and drops
// messages far away, so that ten thousand messages cost no more than a hundred.

import { button, h } from "./dom.js";
import { text } from "./text.js";

const MOST = 160; // messages on the page
const NEAR = "1000px"; // to an end of what is on the page, from which more is asked for

/** @typedef {{ place: number, top: number }} Reading a message and where on the screen it begins */

export class Stretch {
  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} element where the messages are
   * @param {{
   *   onEarlier: (first: number) => Promise<void>,
   *   onLater: (end: number) => Promise<void>
   * }} actions
   */
  constructor(scroller, element, actions) {
    this.scroller = scroller;
    this.element = element;
    this.first = 0; // the place of the first message
    /** @type {number|null} */ this.end = null; // the place after the last one; null: the newest
    this.loading = false;
    const earlier = () => this.load(() => actions.onEarlier(this.first));
    const later = () => this.load(() => actions.onLater(this.end ?? 0));
    this.top = more(text.earlier, earlier);
    this.bottom = more(text.later, later);
    this.watch = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries)
          if (isIntersecting) target === this.top ? earlier() : later();
      },
      { root: scroller, rootMargin: NEAR },
    );
  }

  /** Whether the newest message is on the page. */
  get isNewest() {
    return this.end === null;
  }

  /** @param {number} first @param {number|null} end */
  set(first, end) {
    this.first = first;
    this.end = end;
    this.top.hidden = first === 0;
    this.bottom.hidden = end === null;
    for (const place of [this.top, this.bottom]) {
      this.watch.unobserve(place); // what is still near is reported once more
      if (!place.hidden) this.watch.observe(place);
    }
  }

  /** Request more messages, one request at a time. @param {() => Promise<void>} act */
  async load(act) {
    if (this.loading) return;
    this.loading = true;
    try {
      await act();
    } catch {
      // the server is unreachable or the session was deleted: keep the messages and the button
    } finally {
      this.loading = false;
    }
  }

  /** @param {Node[]} made @param {number} first */
  prepend(made, first) {
    this.keep(() => this.element.prepend(...made));
    this.set(first, this.dropLast() ?? this.end);
  }

  /** @param {Node[]} made @param {number} end */
  append(made, end) {
    this.element.append(...made);
    this.end = end;
    this.dropFirst();
    this.set(this.first, end);
  }

  messages() {
    return /** @type {HTMLElement[]} */ ([
      ...this.element.querySelectorAll(":scope > .message[data-place]"),
    ]);
  }

  /** Drop the last messages when there are too many. @returns {number|null} the new end */
  dropLast() {
    const from = this.messages().slice(MOST).find(isQuestion);
    if (!from || this.element.querySelector(".edit")) return null;
    while (from.nextSibling) from.nextSibling.remove();
    from.remove();
    return Number(from.dataset.place);
  }

  /** Drop the first messages when there are too many. */
  dropFirst() {
    const all = this.messages();
    const from = all.slice(Math.max(0, all.length - MOST)).find(isQuestion);
    if (all.length <= MOST || !from || this.element.querySelector(".edit")) return;
    this.keep(() => {
      while (from.previousSibling) from.previousSibling.remove();
    });
    this.set(Number(from.dataset.place), this.end);
  }

  /** Return the message being read: the first one on the screen. @returns {Reading|null} */
  reading() {
    const edge = this.scroller.getBoundingClientRect().top;
    const read = this.messages().find((one) => one.getBoundingClientRect().bottom > edge);
    const top = read?.getBoundingClientRect().top ?? 0;
    return read ? { place: Number(read.dataset.place), top } : null;
  }

  /**
   * Scroll a message, or the first one after it, to its earlier position.
   * @param {Reading} at
   * @returns {boolean} whether it is here
   */
  readOn(at) {
    const all = this.messages();
    const found = all.find((one) => Number(one.dataset.place) >= at.place);
    if (found) this.scroller.scrollTop += found.getBoundingClientRect().top - at.top;
    return Boolean(found);
  }

  /** Make a change without moving the text being read. @param {() => void} change */
  keep(change) {
    const at = this.reading();
    change();
    if (at) this.readOn(at);
  }
}

/** @param {HTMLElement} message */
function isQuestion(message) {
  return message.classList.contains("from-user");
}

/** @param {string} label @param {() => void} act */
function more(label, act) {
  return h("div", { class: "thread-more", hidden: true }, button(label, act, "quiet", "latest"));
}
