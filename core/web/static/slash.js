// The list of commands that opens above the message box after a slash.

import { request } from "./api.js";
import { h } from "./dom.js";

const MOST = 8;

export class Slash {
  /** @param {import("./composer.js").Composer} composer */
  constructor(composer) {
    this.composer = composer;
    /** @type {{ name: string, usage: string, help: string }[]} */ this.commands = [];
    this.chosen = 0;
    this.element = h("div", { class: "popover slash", id: "slash", popover: "manual", role: "listbox", "aria-label": "Commands" });
    composer.box.addEventListener("keydown", (event) => this.key(event), { capture: true });
  }

  /** @param {string} line what stands in the message box */
  async typed(line) {
    const word = /^\/([a-z-]*)$/.exec(line);
    if (!word) return void this.close();
    if (this.commands.length === 0) this.commands = (await request("GET", "/api/commands")).commands;
    if (this.composer.box.value !== line) return;
    this.shown = this.commands.filter((entry) => entry.name.startsWith(word[1])).slice(0, MOST);
    this.chosen = 0;
    if (this.shown.length === 0) return void this.close();
    this.draw();
    if (!this.element.matches(":popover-open")) this.element.showPopover();
  }

  draw() {
    this.element.replaceChildren(h("p", { class: "slash-head" }, "Commands"), ...this.shown.map((entry, place) =>
      h("div", { class: "slash-item", role: "option", "aria-selected": String(place === this.chosen), onclick: () => this.take(place) },
        h("code", {}, `/${entry.name}${entry.usage ? ` ${entry.usage}` : ""}`), h("span", {}, entry.help))));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.element.matches(":popover-open") || event.isComposing) return;
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in moves) {
      this.chosen = (this.chosen + moves[event.key] + this.shown.length) % this.shown.length;
      this.draw();
    } else if (event.key === "Tab" || (event.key === "Enter" && this.composer.box.value !== `/${this.shown[this.chosen].name}`)) this.take(this.chosen);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  /** @param {number} place */
  take(place) {
    const entry = this.shown[place];
    this.close();
    this.composer.fill(`/${entry.name}${entry.usage ? " " : ""}`);
    this.close();
  }

  /** @returns {boolean} whether it was open */
  close() {
    const open = this.element.matches(":popover-open");
    if (open) this.element.hidePopover();
    return open;
  }
}
