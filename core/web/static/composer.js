// The message box: drafts, images, the queue above it, send and stop.

import { Budget } from "./budget.js";
import { h, icon, iconButton } from "./dom.js";
import { shortModel } from "./states.js";
import { text } from "./text.js";

/** @import { Picture, QueueEvent } from "./wire.d.ts" */

const PICTURES = ["png", "jpeg", "gif", "webp", "bmp", "avif", "tiff", "heic", "heif"].map(
  (type) => `image/${type}`,
);
const MOST_IMAGES = 28_000_000; // characters of base64 in one message: a request has 32 MB

export class Composer {
  /**
   * @param {{
   *   send: (said: string, images: Picture[], files: File[]) => void,
   *   command: (line: string) => void,
   *   stop: () => void,
   *   models: () => void,
   *   queue: (keys: string[], send: boolean) => void,
   *   editLast: () => void,
   *   say: (line: string) => void
   * }} actions
   */
  constructor(actions) {
    this.actions = actions;
    this.session = "";
    this.running = false;
    /** @type {Picture[]} */ this.images = [];
    /** @type {File[]} */ this.others = [];
    this.box = /** @type {HTMLTextAreaElement} */ (
      h("textarea", {
        class: "composer-text",
        id: "message",
        rows: "1",
        dir: "auto",
        placeholder: text.placeholder,
        enterkeyhint: "send",
        oninput: () => this.changed(),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
        onpaste: (/** @type {ClipboardEvent} */ event) => this.take(event.clipboardData, event),
      })
    );
    this.files = h("div", { class: "composer-files", hidden: true });
    this.modelName = h("span", { class: "model-button-name" });
    this.modelIcon = h("span", { class: "model-button-icon" }, icon("local"));
    this.modelButton = h(
      "button",
      {
        class: "button quiet model-button",
        type: "button",
        "aria-haspopup": "dialog",
        onclick: () => actions.models(),
      },
      h("span", { class: "sr" }, "Model: "),
      this.modelIcon,
      this.modelName,
      icon("down"),
    );
    this.budget = new Budget();
    this.sendButton = h("button", {
      class: "button send",
      type: "button",
      onclick: () => this.act(),
    });
    this.picker = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "file",
        multiple: true,
        hidden: true,
        onchange: () => this.take(this.picker, null),
      })
    );
    this.queued = h("div", { class: "queue" });
    this.form = h(
      "form",
      {
        class: "composer",
        "aria-label": "New message",
        onsubmit: (/** @type {Event} */ event) => event.preventDefault(),
      },
      this.files,
      h("label", { class: "sr", for: "message" }, text.message),
      this.box,
      h(
        "div",
        { class: "composer-row" },
        iconButton("clip", text.addFiles, () => this.picker.click(), {
          title: `${text.addFiles} (Ctrl U)`,
        }),
        this.modelButton,
        h("span", { class: "spacer" }),
        this.budget.element,
        this.sendButton,
      ),
      this.picker,
    );
    this.element = h("div", { class: "composer-stack" }, this.queued, this.form);
    this.form.addEventListener("dragover", (event) => event.preventDefault());
    this.form.addEventListener("drop", (event) => this.take(event.dataTransfer, event));
    this.showState();
  }

  /** Switch to another session's draft. @param {string} session */
  open(session) {
    if (session && session === this.session) return;
    this.session = session;
    this.box.value = readDraft(session);
    this.images = [];
    this.others = [];
    this.showImages();
    this.grow();
    this.showState();
  }

  changed() {
    writeDraft(this.session, this.box.value);
    this.grow();
    this.showState();
    this.actions.say(this.box.value);
  }

  grow() {
    this.box.style.height = "auto";
    this.box.style.height = `${Math.min(this.box.scrollHeight, innerHeight * 0.4)}px`;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.isComposing || event.keyCode === 229) return;
    if (
      event.key === "Enter" &&
      !event.shiftKey &&
      !event.altKey &&
      !event.ctrlKey &&
      !event.metaKey
    ) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && this.box.value === "") {
      event.preventDefault();
      this.actions.editLast();
    }
  }

  act() {
    if (this.running && !this.box.value.trim()) this.actions.stop();
    else this.send();
  }

  send() {
    const said = this.box.value;
    if (!said.trim() && this.images.length === 0) return;
    const images = this.images;
    const others = this.others;
    this.fill("");
    this.images = [];
    this.others = [];
    this.showImages();
    if (
      said.startsWith("/") &&
      !said.startsWith("//") &&
      /^\/(\?|[A-Za-z][\w:.-]*)(\s|$)/.test(said)
    )
      this.actions.command(said);
    else this.actions.send(said.startsWith("//") ? said.slice(1) : said, images, others);
  }

  /** Restore unsent attachments. @param {Picture[]} images @param {File[]} others */
  giveBack(images, others) {
    this.images.unshift(...images);
    this.others.unshift(...others);
    this.showImages();
    this.showState();
  }

  /** @param {string} said */
  fill(said) {
    this.box.value = said;
    this.changed();
    this.box.focus();
  }

  /** @param {boolean} running */
  setRunning(running) {
    this.running = running;
    this.showState();
  }

  /**
   * @param {string} model
   * @param {boolean} local
   * @param {string} [other] the model to compare with
   */
  setModel(model, local, other = "") {
    const name = shortModel(model) || text.chooseModel;
    this.modelName.textContent = other ? text.andModel(name, shortModel(other)) : name;
    this.modelButton.title = other ? text.andModel(model, other) : model;
    this.modelIcon.replaceChildren(icon(local ? "local" : "cloud"));
  }

  showState() {
    const stops = this.running && !this.box.value.trim();
    this.sendButton.className = stops ? "button send stop" : "button send";
    this.sendButton.setAttribute("aria-label", stops ? text.stop : text.send);
    this.sendButton.title = stops ? `${text.stop} (Esc)` : `${text.send} (Enter)`;
    this.sendButton.replaceChildren(icon(stops ? "stop" : "send"));
    this.sendButton.toggleAttribute(
      "disabled",
      !stops && !this.box.value.trim() && this.images.length === 0,
    );
  }

  /** @param {DataTransfer|HTMLInputElement|null} source @param {Event|null} event */
  async take(source, event) {
    const given = [...(source?.files ?? [])];
    if (given.length === 0) return;
    event?.preventDefault();
    this.others.push(...given.filter((file) => !PICTURES.includes(file.type)));
    for (const file of given.filter((one) => PICTURES.includes(one.type))) {
      const taken = this.images.reduce((size, image) => size + image.data.length, 0);
      if (taken + (file.size * 4) / 3 > MOST_IMAGES) {
        this.actions.say(text.imageTooLarge);
        continue;
      }
      this.images.push({ media: file.type, data: await base64(file), name: file.name });
    }
    this.showImages();
    this.showState();
  }

  showImages() {
    this.files.hidden = this.images.length + this.others.length === 0;
    this.files.replaceChildren(
      ...this.images.map((image, place) =>
        this.chip("image", image.name, "", () => this.images.splice(place, 1)),
      ),
      ...this.others.map((file, place) =>
        this.chip("file", file.name, text.size(file.size), () => this.others.splice(place, 1)),
      ),
    );
  }

  /** @param {string} mark @param {string} name @param {string} note @param {() => void} remove */
  chip(mark, name, note, remove) {
    return h(
      "span",
      { class: "file" },
      icon(mark),
      h("span", { class: "file-name", title: name }, name),
      note && h("span", { class: "file-note" }, note),
      h(
        "button",
        {
          class: "file-remove",
          type: "button",
          "aria-label": `Remove ${name}`,
          onclick: () => {
            remove();
            this.showImages();
            this.showState();
            this.box.focus();
          },
        },
        icon("close"),
      ),
    );
  }

  /** @param {Omit<QueueEvent, "type">} event */
  showQueue(event) {
    const keys = event.items.map((item) => item.key);
    const without = (/** @type {string} */ key) => keys.filter((each) => each !== key);
    this.queued.replaceChildren(
      ...event.items.map((item, place) =>
        h(
          "div",
          { class: "queued" },
          icon("queue"),
          h("span", { class: "queued-text", dir: "auto" }, item.text),
          h("span", { class: "queued-note" }, event.held ? text.held : text.sendsWhenDone),
          event.held &&
            place === 0 &&
            h(
              "button",
              {
                class: "button small",
                type: "button",
                onclick: () => this.actions.queue(keys, true),
              },
              text.sendNow,
            ),
          iconButton(
            "edit",
            text.editQueued,
            () => {
              this.actions.queue(without(item.key), false);
              this.fill(item.text);
            },
            { class: "button icon-only small quiet" },
          ),
          iconButton(
            "close",
            text.removeQueued,
            () => {
              this.actions.queue(without(item.key), false);
              this.box.focus();
            },
            { class: "button icon-only small quiet" },
          ),
        ),
      ),
    );
  }
}

/** @param {string} session */
export function readDraft(session) {
  try {
    return localStorage.getItem(`draft:${session}`) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} session @param {string} said */
export function writeDraft(session, said) {
  try {
    if (said) localStorage.setItem(`draft:${session}`, said);
    else localStorage.removeItem(`draft:${session}`);
  } catch {
    // a private window: the draft lasts for this page
  }
}

/** @param {File} file @returns {Promise<string>} */
function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).replace(/^[^,]*,/, ""));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
