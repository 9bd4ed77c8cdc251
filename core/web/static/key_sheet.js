// The list of keyboard shortcuts that `?` opens.

import { h, icon } from "./dom.js";

/** @type {[string, [string, string[]][]][]} */
const KEYS = [
  [
    "Write",
    [
      ["Send", ["Enter"]],
      ["New line", ["Shift", "Enter"]],
      ["Commands", ["/"]],
      ["Edit your last message", ["↑"]],
      ["Add files or images", ["Ctrl", "U"]],
      ["Choose a model", ["Alt", "M"]],
    ],
  ],
  [
    "Read",
    [
      ["Stop the reply", ["Esc"]],
      ["Next, previous message", ["J", "K"]],
      ["Version before, after", ["[", "]"]],
      ["Copy the reply", ["C"]],
      ["Retry", ["R"]],
      ["Jump to the latest text", ["End"]],
    ],
  ],
  [
    "Go",
    [
      ["Search sessions", ["Ctrl", "K"]],
      ["New session", ["Alt", "N"]],
      ["Show or hide sessions", ["Alt", "S"]],
      ["This sheet", ["?"]],
    ],
  ],
  [
    "When a tool asks",
    [
      ["Allow once", ["Y"]],
      ["Deny", ["N"]],
    ],
  ],
];

export function keySheet() {
  const close = h(
    "button",
    {
      class: "button icon-only quiet",
      type: "button",
      popovertarget: "keys",
      popovertargetaction: "hide",
      "aria-label": "Close",
    },
    icon("close"),
  );
  const sections = KEYS.map(([title, rows]) =>
    h(
      "section",
      {},
      h("h3", {}, title),
      h(
        "dl",
        {},
        ...rows.map(([what, keys]) =>
          h("div", {}, h("dt", {}, what), h("dd", {}, ...keys.map((key) => h("kbd", {}, key)))),
        ),
      ),
    ),
  );
  return h(
    "div",
    {
      class: "sheet",
      id: "keys",
      popover: "auto",
      role: "dialog",
      "aria-labelledby": "keys-title",
    },
    h("div", { class: "sheet-head" }, h("h2", { id: "keys-title" }, "Keyboard"), close),
    h("div", { class: "keys" }, ...sections),
    h("p", { class: "sheet-note" }, "Single letters work when the message box is not focused."),
  );
}
