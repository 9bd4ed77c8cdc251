// The completion list above the message box after a slash: commands, prompts and their arguments.

import { request } from "./api.js";
import { h } from "./dom.js";
import { text } from "./text.js";

/** @import { Composer } from "./composer.js" */
/** @import { CommandRow } from "./wire.d.ts" */

const MOST = 8;

/**
 * @typedef {{
 *   line: string,
 *   label: string,
 *   help: string,
 *   usage: string,
 *   more: boolean
 * }} Entry `line` is the resulting text of the box; `more`: an argument follows
 */

export class Slash {
  /** @param {Composer} composer */
  constructor(composer) {
    this.composer = composer;
    // Lists by URL, which depends on the session.
    /** @type {Map<string, Promise<any>>} */ this.known = new Map();
    /** @type {Entry[]} */ this.shown = [];
    this.chosen = 0;
    this.element = h("div", {
      class: "popover slash",
      id: "slash",
      popover: "manual",
      role: "listbox",
      "aria-label": text.commands,
    });
    composer.box.addEventListener("keydown", (event) => this.key(event), { capture: true });
  }

  /** @param {string} line what stands in the message box */
  async typed(line) {
    const word = /^\/([\w:.-]*)$/.exec(line);
    const argument = /^\/([\w-]+) +(\S*)$/.exec(line);
    const found = word
      ? await this.names(word[1])
      : argument
        ? await this.values(argument[1], argument[2])
        : [];
    if (this.composer.box.value !== line) return;
    this.shown = found.slice(0, MOST);
    this.chosen = 0;
    if (this.shown.length === 0) return void this.close();
    this.draw(word ? text.commands : `/${argument?.[1]}`);
    if (!this.element.matches(":popover-open")) this.element.showPopover();
  }

  /** @param {string} word @returns {Promise<Entry[]>} */
  async names(word) {
    const { commands } = await this.ask(
      this.composer.session ? `${this.path()}/commands` : "/api/commands",
    );
    return /** @type {CommandRow[]} */ (commands)
      .filter((entry) => entry.name.startsWith(word))
      .map((entry) => ({
        line: `/${entry.name}`,
        label: `/${entry.name}`,
        help: entry.help,
        usage: entry.usage ? `/${entry.name} ${entry.usage}` : "",
        more: Boolean(entry.usage) || entry.prompt,
      }));
  }

  /** @param {string} command @param {string} word @returns {Promise<Entry[]>} */
  async values(command, word) {
    if (!this.composer.session) return [];
    const { values } = await this.ask(`${this.path()}/commands/${encodeURIComponent(command)}`);
    return /** @type {string[]} */ (values)
      .filter((value) => value !== word && value.toLowerCase().includes(word.toLowerCase()))
      .map((value) => ({
        line: `/${command} ${value}`,
        label: value,
        help: "",
        usage: "",
        more: false,
      }));
  }

  path() {
    return `/api/sessions/${encodeURIComponent(this.composer.session)}`;
  }

  /** @param {string} address @returns {Promise<any>} */
  ask(address) {
    if (!this.element.matches(":popover-open")) this.known.clear();
    const asked =
      this.known.get(address) ??
      request("GET", address).catch(() => ({ commands: [], values: [] }));
    this.known.set(address, asked);
    return asked;
  }

  /** @param {string} heading */
  draw(heading) {
    this.heading = heading;
    this.element.replaceChildren(
      h("p", { class: "slash-head" }, heading),
      ...this.shown.map((entry, place) =>
        h(
          "div",
          {
            class: "slash-item",
            role: "option",
            "aria-selected": String(place === this.chosen),
            title: [entry.usage, entry.help].filter(Boolean).join("\n"),
            onclick: () => this.take(place),
          },
          h("code", {}, (this.shown.length === 1 && entry.usage) || entry.label),
          h("span", {}, entry.help),
          place === this.chosen && h("kbd", { class: "hide-phone" }, "Tab"),
        ),
      ),
    );
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.element.matches(":popover-open") || event.isComposing) return;
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const taken =
      this.composer.box.value === this.shown[this.chosen].line ||
      / \S*$/.test(this.composer.box.value);
    if (by !== 0) {
      this.chosen = (this.chosen + by + this.shown.length) % this.shown.length;
      this.draw(this.heading ?? "");
    } else if (event.key === "Tab" || (event.key === "Enter" && !event.shiftKey && !taken))
      this.take(this.chosen);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  /** @param {number} place */
  take(place) {
    const entry = this.shown[place];
    this.close();
    this.composer.fill(`${entry.line}${entry.more ? " " : ""}`);
    if (!entry.more) this.close();
  }

  /** @returns {boolean} whether it was open */
  close() {
    const open = this.element.matches(":popover-open");
    if (open) this.element.hidePopover();
    return open;
  }
}
