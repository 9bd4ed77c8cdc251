// Small dialogs: a confirmation, and text to read.

import { button, h } from "./dom.js";
import { text } from "./text.js";

/**
 * Ask for confirmation; `act` runs if the user agrees.
 * @param {string} question
 * @param {HTMLElement|null} field a field to fill in
 * @param {string} yes
 * @param {() => void} act
 */
export function ask(question, field, yes, act) {
  const dialog = open(
    question,
    act,
    h("p", {}, question),
    field,
    h(
      "div",
      { class: "dialog-actions" },
      h("button", { class: "button primary", type: "submit" }, yes),
      button(text.cancel, () => dialog.close(), "quiet"),
    ),
  );
  const input = /** @type {HTMLInputElement|null} */ (dialog.querySelector("input, select"));
  input?.focus();
  if (input?.type === "text") input.select();
}

/** Show text to read, each part under its title. @param {[string, string[]][]} parts */
export function tell(parts) {
  open(
    parts[0][0],
    () => {},
    ...parts.flatMap(([title, lines]) => [
      h("p", {}, h("strong", {}, title)),
      ...lines.map((line) => h("p", { class: "dialog-line" }, line)),
    ]),
    h(
      "div",
      { class: "dialog-actions" },
      h("button", { class: "button primary", type: "submit" }, text.ok),
    ),
  );
}

/** @param {string} label @param {() => void} act @param {...(Node|null)} parts */
function open(label, act, ...parts) {
  const dialog = /** @type {HTMLDialogElement} */ (
    h(
      "dialog",
      { class: "dialog", "aria-label": label },
      h("form", { method: "dialog", onsubmit: () => act() }, ...parts),
    )
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
