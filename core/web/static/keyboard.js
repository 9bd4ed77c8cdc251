// Keyboard shortcuts.

import { turnVersion } from "./versions.js";

/** @import { Page } from "./main.js" */

const READING = 400; // milliseconds for which a question that appeared takes no key
const root = document.documentElement;

export class Keyboard {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.last = 0; // when a letter was pressed while a question waited
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const typing = /** @type {HTMLElement} */ (event.target).matches?.("input, textarea, select");
    const control = event.ctrlKey || event.metaKey;
    if (event.key === "Escape") return void this.escape();
    else if (control && event.key === "k") this.page.sessions.sidebar.find.focus();
    else if (control && event.key === "u") this.page.composer.picker.click();
    else if (event.altKey && event.code === "KeyN") this.page.go("/");
    else if (event.altKey && event.code === "KeyM") this.page.models.open();
    else if (event.altKey && event.code === "KeyS")
      this.page.setDrawer(root.dataset.sidebar !== "open");
    else if (typing || control || event.altKey) return;
    else if (!this.letter(event)) return;
    event.preventDefault();
  }

  escape() {
    if (root.dataset.sidebar === "open") this.page.setDrawer(false);
    else if (this.page.slash.close()) return;
    else if (this.page.running && !document.querySelector(":popover-open"))
      this.page.acts.post("stop");
  }

  /** Focus a question unless the user is typing. @param {HTMLElement} question */
  asked(question) {
    const at = document.activeElement;
    if (at === document.body || (at === this.page.composer.box && !this.page.composer.box.value))
      question.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  letter(event) {
    const question = /** @type {HTMLElement|null} */ (document.querySelector(".approval"));
    const choose = { y: "once", n: "no" }[event.key.toLowerCase()];
    const typed = question && event.key.length === 1;
    if (typed && this.isTyped(question)) return this.typeOn();
    if (question && choose) choiceOf(question, choose)?.click();
    else if (event.key === "?") document.getElementById("keys")?.togglePopover();
    else if (event.key === "/") this.page.composer.fill("/");
    else if (event.key === "End") this.page.thread.toEnd();
    else if (event.key.toLowerCase() === "r" && !this.page.running) this.page.acts.post("retry");
    else if (event.key.toLowerCase() === "c")
      /** @type {HTMLElement|null} */ (
        [...document.querySelectorAll(".from-model [data-key=copy]")].pop()
      )?.click();
    else if (event.key === "[" || event.key === "]")
      turnVersion(this.page.thread.element, event.key === "[" ? -1 : 1);
    else if (event.key.toLowerCase() === "j" || event.key.toLowerCase() === "k")
      this.step(event.key.toLowerCase() === "j" ? 1 : -1);
    else return typed ? this.typeOn() : false;
    return true;
  }

  /**
   * Whether a key was meant for something else: the question has just appeared, or the user is
   * typing.
   * @param {HTMLElement} question
   */
  isTyped(question) {
    const now = performance.now();
    const before = this.last;
    this.last = now;
    return now - Math.max(Number(question.dataset.since), before) < READING;
  }

  /** Keep typing in the message box when a question appears. @returns {boolean} */
  typeOn() {
    this.page.composer.box.focus({ preventScroll: true });
    return false;
  }

  /** Move to the next or previous message. @param {number} by */
  step(by) {
    const messages = /** @type {HTMLElement[]} */ ([
      ...this.page.thread.element.querySelectorAll(".message"),
    ]);
    const top = this.page.scroller.getBoundingClientRect().top + 8;
    const now = messages.findIndex((message) => message.getBoundingClientRect().bottom > top);
    const next = messages[Math.max(0, Math.min(messages.length - 1, now + by))];
    this.page.thread.following = false;
    next?.scrollIntoView({ block: "start" });
  }
}

/** @param {HTMLElement} question @param {string} choice @returns {HTMLElement|null} */
function choiceOf(question, choice) {
  return question.querySelector(`[data-choice=${choice}]`);
}
