// The lines of a code block, in parts: when a line is added, the browser lays out only one part
// again.

import { h } from "./dom.js";

const MOST = 40; // lines of a part

export class CodeLines {
  /** @param {HTMLElement} code */
  constructor(code) {
    this.code = code;
    this.part = h("span", { class: "lines" });
    this.count = 0;
    code.append(this.part);
  }

  /** @param {string} words @param {string|undefined} role the role that sets their colour */
  add(words, role) {
    for (const piece of words.split(/(?<=\n)/)) {
      if (this.count >= MOST) this.begin();
      this.part.append(role ? h("span", { class: role }, piece) : piece);
      if (piece.endsWith("\n")) this.count += 1;
    }
  }

  begin() {
    this.part = h("span", { class: "lines" });
    this.count = 0;
    this.code.append(this.part);
  }
}
