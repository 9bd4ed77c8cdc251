// Applies the server's operations to the page: a closed set of elements, with text in text nodes
// only.

import { CodeLines } from "./code_lines.js";
import { h, icon } from "./dom.js";
import { text } from "./text.js";

/** @import { Operation } from "./wire.d.ts" */

/** The message itself has an h2, so headings start at h3. @type {Record<string, string>} */
const HEADINGS = { h1: "h3", h2: "h3", h3: "h4", h4: "h5", h5: "h6", h6: "h6" };
/** @type {Record<string, string>} */
const MARKS = { strong: "strong", em: "em", del: "del", code: "code" };
/** @type {Record<string, string>} */
const CODE_ROLES = {
  accent: "s",
  bold: "f",
  dim: "c",
  keyword: "k",
  type: "t",
  number: "n",
  inserted: "add",
  deleted: "del",
};
/** @type {Record<string, string>} */
const ALIGNED = { left: "start", center: "center", right: "end" };

/**
 * @typedef {{
 *   tag: string,
 *   element: HTMLElement,
 *   lines?: CodeLines
 * }} Open `element` receives its text and blocks; `lines` are the lines of a code block
 */

export class Blocks {
  /** @param {HTMLElement} root @param {(place: HTMLElement, code: string) => void} onCopy */
  constructor(root, onCopy) {
    this.root = root;
    this.onCopy = onCopy;
    /** @type {Open[]} */ this.open = [];
    /** @type {Text|null} */ this.tail = null;
  }

  /** @param {Operation[]} operations */
  apply(operations) {
    for (const given of operations) {
      if (given[0] !== "tail") this.clearTail();
      if (given[0] === "open") this.begin(given[1], given[2] ?? "");
      else if (given[0] === "close") this.close(given[1]);
      else if (given[0] === "text")
        this.add(given[1], given[2] ?? [], given[3] ?? "", given[4] ?? "");
      else if (given[0] === "retag") this.retag(given[1]);
      else if (given[0] === "tail") this.showTail(given[1]);
    }
  }

  inner() {
    const last = this.open[this.open.length - 1];
    return last ? (last.lines?.part ?? last.element) : this.root;
  }

  /** @param {string} tag @param {string} detail */
  begin(tag, detail) {
    const parent = this.inner();
    if (tag === "code") return this.beginCode(parent, detail);
    if (tag === "table") {
      const table = h("table", { dir: "auto" });
      parent.append(
        h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, table),
      );
      return this.push(tag, table);
    }
    if (tag === "math") {
      const code = h("code", {});
      parent.append(h("div", { class: "math", dir: "ltr", role: "math", tabindex: "0" }, code));
      return this.push(tag, code);
    }
    const made = element(tag, detail);
    parent.append(made);
    return this.push(tag, made);
  }

  /** @param {HTMLElement} parent @param {string} language */
  beginCode(parent, language) {
    const code = h("code", {});
    const button = h(
      "button",
      {
        class: "button small quiet",
        type: "button",
        "data-copy": true,
        onclick: () => this.onCopy(button, code.textContent ?? ""),
      },
      icon("copy"),
      h("span", {}, text.copy),
    );
    parent.append(
      h(
        "figure",
        { class: "code", dir: "ltr" },
        h("figcaption", {}, h("span", { class: "code-lang" }, language.split(/\s/)[0]), button),
        h("pre", { tabindex: "0" }, code),
      ),
    );
    const lines = new CodeLines(code);
    this.open.push({ tag: "code", element: code, lines });
  }

  /** @param {string} tag @param {HTMLElement} made */
  push(tag, made) {
    this.open.push({ tag, element: made });
  }

  /** @param {string} tag */
  close(tag) {
    const place = this.open.map((each) => each.tag).lastIndexOf(tag);
    if (place >= 0) this.open.length = place;
  }

  /** @param {string} words @param {string[]} marks @param {string} href @param {string} source */
  add(words, marks, href, source) {
    const last = this.open[this.open.length - 1];
    if (last?.lines) return last.lines.add(words, CODE_ROLES[marks[0]]);
    const parent = this.inner();
    const inner = last?.tag ?? "";
    if (inner === "math") {
      parent.append(words);
      parent.parentElement?.setAttribute("title", source);
      return;
    }
    /** @type {Node} */
    let node = marks.includes("math")
      ? h("span", { class: "math", role: "math", title: source || undefined }, words)
      : lines(words);
    if (marks.includes("img")) node = document.createTextNode(words);
    for (const mark of ["code", "em", "strong", "del"])
      if (marks.includes(mark)) node = h(MARKS[mark], {}, node);
    parent.append(href ? link(href, node) : node);
  }

  /** @param {string} tag */
  retag(tag) {
    const last = this.open[this.open.length - 1];
    if (!last) return;
    const made = element(tag, "");
    made.append(...last.element.childNodes);
    last.element.replaceWith(made);
    this.open[this.open.length - 1] = { tag, element: made };
  }

  /** @param {string} words */
  showTail(words) {
    if (!this.tail) {
      this.tail = document.createTextNode("");
      this.inner().append(this.tail);
    }
    this.tail.data = words;
  }

  clearTail() {
    this.tail?.remove();
    this.tail = null;
  }
}

/** @param {string} tag @param {string} detail */
function element(tag, detail) {
  if (tag in HEADINGS) return h(HEADINGS[tag], { "data-level": tag.slice(1) });
  if (tag === "quote") return h("blockquote", {});
  if (tag === "li") return item(detail);
  if (tag === "th" || tag === "td") return h(tag, { "data-align": ALIGNED[detail] });
  return ["p", "ul", "ol", "tr", "hr"].includes(tag) ? h(tag) : h("p");
}

/** @param {string} detail */
function item(detail) {
  if (detail === "x" || detail === "_") {
    return h(
      "li",
      { class: "task" },
      h("input", { type: "checkbox", disabled: true, checked: detail === "x" }),
    );
  }
  return h("li", { value: /^\d{1,9}$/.test(detail) ? detail : undefined });
}

/** @param {string} words */
function lines(words) {
  const made = document.createDocumentFragment();
  words.split("\n").forEach((line, place) => {
    if (place > 0) made.append(h("br"));
    made.append(line);
  });
  return made;
}

/**
 * Make a link that shows its target; only web and mail addresses become links.
 * @param {string} href
 * @param {string|Node} label
 */
function link(href, label) {
  let address;
  try {
    address = new URL(href);
  } catch {
    return typeof label === "string" ? document.createTextNode(label) : label;
  }
  if (!["http:", "https:", "mailto:"].includes(address.protocol))
    return typeof label === "string" ? document.createTextNode(label) : label;
  const shown = typeof label === "string" ? label : (label.textContent ?? "");
  return h(
    "a",
    { href: address.href, rel: "noreferrer noopener", target: "_blank" },
    label,
    address.host &&
      !shown.includes(address.host) &&
      h("span", { class: "link-host" }, address.host, icon("out")),
  );
}
