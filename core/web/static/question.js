// A message of the user: text, images and files, and its editor.

import { button, copy, h, icon, iconButton } from "./dom.js";
import { text } from "./text.js";

/** @import { UserEvent } from "./wire.d.ts" */

const LONG = 1200; // characters from which it is folded

const DRAWN = /^image\/(png|jpeg|gif|webp|bmp|avif)$/; // by every browser

/** @typedef {(place: number, said: string) => Promise<boolean>} OnEdit whether it was sent */

/** @param {UserEvent} event @param {OnEdit} onEdit */
export function question(event, onEdit) {
  const bubble = h(
    "div",
    { class: "bubble prose", dir: "auto", "data-long": event.text.length > LONG },
    h("p", { class: "plain" }, event.text),
  );
  const images = (event.images ?? []).map((image) =>
    DRAWN.test(image.media)
      ? h("img", {
          src: `data:${image.media};base64,${image.data}`,
          alt: image.name || "Image",
          width: "176",
          height: "112",
          class: "attachment-image",
        })
      : fileChip("image", image.name || "Image"),
  );
  const files = (event.files ?? []).map((name) => fileChip("file", name));
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
        iconButton("edit", text.edit, () => editIn(article, event.place, event.text, onEdit), {
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
  return article;
}

/** A message that the server does not have yet. @param {string} key @param {string} said */
export function unsent(key, said) {
  return h(
    "article",
    { class: "message from-user", "data-message": key, "data-state": "sending" },
    h("h2", { class: "sr" }, text.you),
    h("div", { class: "bubble prose", dir: "auto" }, h("p", { class: "plain" }, said)),
    h(
      "footer",
      { class: "meta meta-user" },
      h("span", { class: "state" }, icon("clock"), text.saving),
    ),
  );
}

/**
 * Edit a message in place; nothing changes until it is sent.
 * @param {HTMLElement} article
 * @param {number} place
 * @param {string} said
 * @param {OnEdit} onEdit
 */
function editIn(article, place, said, onEdit) {
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
    if (box.value.trim() && (await onEdit(place, box.value))) close();
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

/** @param {string} mark @param {string} name */
function fileChip(mark, name) {
  return h(
    "span",
    { class: "file" },
    icon(mark),
    h("span", { class: "file-name", title: name }, name),
  );
}
