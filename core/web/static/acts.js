// Sends the user's actions to the server one after the other, and reports failures.

import { insist, request, upload } from "./api.js";
import { writeDraft } from "./composer.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { PullOffer } from "./pulls.js";
import { table } from "./table.js";
import { text } from "./text.js";

/** @import { Page } from "./main.js" */

export class Acts {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Promise<unknown>} */ this.last = Promise.resolve();
  }

  /** @param {string} said @param {any[]} images @param {File[]} others */
  async send(said, images, others) {
    const key = crypto.randomUUID();
    await this.act(async () => {
      try {
        if (!this.page.session) await this.begin();
        const files = await Promise.all(others.map(upload));
        if (this.page.other)
          return await request("POST", `${this.page.path()}/compare`, {
            key,
            text: said,
            images,
            files,
            model: this.page.other,
          });
        if (!this.page.running) this.page.thread.addUnsent(key, said);
        const { accepted } = await insist(
          "POST",
          `${this.page.path()}/messages`,
          { key, text: said, images, files },
          (lost) => this.page.setConnected(!lost),
        );
        if (accepted === "queued") this.page.thread.dropUnsent(key);
      } catch (problem) {
        this.page.thread.dropUnsent(key);
        this.page.composer.giveBack(images, others);
        throw problem;
      }
    }, said);
  }

  async begin() {
    const found = await insist("POST", "/api/sessions", { model: this.page.model }, (lost) =>
      this.page.setConnected(!lost),
    );
    this.page.thread.clear();
    writeDraft("", "");
    writeDraft(found.id, this.page.composer.box.value); // what is typed meanwhile
    history.pushState(null, "", `/s/${found.id}`);
    await this.page.open(found.id);
  }

  /**
   * Use another model from now on. The message box shows its name; other effects of the change are
   * shown in the thread.
   * @param {string} model
   */
  choose(model) {
    return this.command(`/model ${model}`, { quiet: true });
  }

  /** @param {string} line @param {{ confirmed?: boolean, quiet?: boolean }} [how] */
  async command(line, { confirmed = false, quiet = false } = {}) {
    await this.act(async () => {
      if (!this.page.session) await this.begin();
      const found = await request("POST", `${this.page.path()}/commands`, { line, confirmed });
      if (found.session !== undefined) this.page.go(found.session ? `/s/${found.session}` : "/");
      else if (found.redraw) await this.page.open(this.page.session);
      const isKnown = quiet && found.show === "text" && !found.text.includes("\n");
      if (!isKnown) this.showOutcome(line, found);
      if (found.model) this.page.setModel(found.model, this.page.isLocal(found.model));
    }, line);
  }

  /** @param {string} line @param {any} found */
  showOutcome(line, found) {
    if (found.show === "text" && found.text)
      this.page.thread.addNote(outcome(line, h("pre", { tabindex: "0" }, found.text)));
    if (found.show === "confirm")
      ask(found.text, null, text.yes, () => this.command(line, { confirmed: true }));
    if (found.show === "pull") this.pull(line, found.model);
    if (found.show === "copy") this.copyText(line, found.text);
    if (found.show === "edit") this.page.composer.fill(found.text);
    if (found.show === "table") this.page.thread.addNote(outcome(line, table(found)));
  }

  /** Download a model, and show the progress in the conversation.
   * @param {string} line @param {string} model
   */
  pull(line, model) {
    const offer = new PullOffer(model, () => this.page.models.load(true));
    this.page.thread.addNote(outcome(line, h("div", {}, offer.button, offer.progress)));
    offer.start();
  }

  /**
   * Put a text on the clipboard of the browser; where that is not allowed, it is shown.
   * @param {string} line @param {string} value
   */
  async copyText(line, value) {
    const said = await navigator.clipboard.writeText(value).then(
      () => text.copied,
      () => value,
    );
    this.page.thread.addNote(outcome(line, h("pre", { tabindex: "0" }, said)));
  }

  /** @param {string} what @param {object} [body] */
  post(what, body = {}) {
    return this.acting(() => request("POST", `${this.page.path()}/${what}`, body), "");
  }

  /**
   * Run an action on the server after all earlier ones. A failure is reported, and typed text is
   * restored.
   * @param {() => Promise<any>} does
   * @param {string} [said]
   * @returns {Promise<any>} its result; undefined if it failed
   */
  act(does, said = "") {
    const acting = this.last.then(() => this.acting(does, said));
    this.last = acting;
    return acting;
  }

  /** @param {() => Promise<unknown>} does @param {string} said */
  async acting(does, said) {
    try {
      return await does();
    } catch (problem) {
      if (said && !this.page.composer.box.value) this.page.composer.fill(said);
      this.page.say(problem);
    }
  }

  /**
   * Replace a message and answer it again.
   * @param {number} place
   * @param {string} said
   * @returns {Promise<boolean>} whether it was sent
   */
  async edit(place, said) {
    const key = crypto.randomUUID();
    let sent = false;
    await this.act(async () => {
      await insist("POST", `${this.page.path()}/edits`, { key, place, text: said }, (lost) =>
        this.page.setConnected(!lost),
      );
      sent = true;
    });
    return sent;
  }

  /**
   * Show another version of a message, keeping the focus on its switcher.
   * @param {number} place
   * @param {string} version
   */
  turnTo(place, version) {
    const by = /** @type {HTMLElement|null} */ (document.activeElement)?.dataset.turn;
    return this.act(async () => {
      await request("POST", `${this.page.path()}/versions`, { version });
      await this.page.open(this.page.session);
      const switcher = this.page.thread.element.querySelector(
        `.message[data-place="${place}"] .switcher`,
      );
      const turned =
        switcher?.querySelector(`[data-turn="${by}"]:enabled`) ??
        switcher?.querySelector("button:enabled");
      if (by) /** @type {HTMLElement|null|undefined} */ (turned)?.focus({ preventScroll: true });
    });
  }
}

/** @param {string} line @param {Node} shown */
function outcome(line, shown) {
  return h(
    "section",
    { class: "outcome", "aria-label": line },
    h("p", { class: "outcome-line" }, h("code", {}, line)),
    shown,
  );
}
