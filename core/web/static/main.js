// Assembles the page: shows sessions and dispatches events.

import { Acts } from "./acts.js";
import { ApiError, insist, listen, request } from "./api.js";
import { Bar } from "./bar.js";
import { Composer } from "./composer.js";
import { h, icon } from "./dom.js";
import { FirstRun } from "./first.js";
import { Keyboard } from "./keyboard.js";
import { keySheet } from "./key_sheet.js";
import { Models } from "./models.js";
import { showNumbers } from "./numbers.js";
import { showProviders } from "./providers.js";
import { Recent } from "./recent.js";
import { notice } from "./reply.js";
import { Sessions } from "./sessions.js";
import { Slash } from "./slash.js";
import { text } from "./text.js";
import { switchTheme } from "./theme.js";
import { Thread } from "./thread.js";

/** @import { PageEvent, ThreadEvent } from "./wire.d.ts" */

const root = document.documentElement;
const app = /** @type {HTMLElement} */ (document.getElementById("app"));

export class Page {
  constructor() {
    this.session = "";
    this.title = "";
    this.model = "";
    this.running = false;
    this.saved = true;
    this.connected = true;
    this.opening = 0; // counts what is opened: only the newest is drawn
    /** @type {Set<string>} */ this.local = new Set();
    /** @type {string|null} */ this.member = null; // the signed-in member on a team page
    this.acts = new Acts(this);
    /** @type {() => void} */ this.unlisten = () => {};
    this.scroller = h("div", {
      class: "scroll",
      tabindex: "0",
      role: "region",
      "aria-label": "Conversation",
    });
    this.jump = h(
      "button",
      { class: "jump", type: "button", "aria-label": text.jump, title: `${text.jump} (End)` },
      icon("latest"),
    );
    this.other = ""; // the model that is asked the same, while two are compared
    this.bar = new Bar({
      openList: () => this.setDrawer(true),
      compare: () => this.chooseOther(),
      menu: (at) => this.sessions.menuOf(this.session, at),
    });
    this.thread = new Thread(this.scroller, this.jump, {
      onContinue: () => this.acts.post("continue"),
      onRetry: () => this.acts.post("retry"),
      onRetryWith: () => this.models.open((model) => this.acts.post("retry", { model })),
      onDecide: (ask, choice) => this.acts.post("answers", { ask, choice }),
      onChooseModel: () => this.models.open(),
      onAsked: (question) => this.keyboard.asked(question),
      onAnswered: () => this.composer.box.focus(),
      onEdit: (place, said) => this.acts.edit(place, said),
      onEarlier: (first) => this.earlier(first),
      onLater: (end) => this.later(end),
      onLatest: () => this.open(this.session),
      isLocal: (model) => this.isLocal(model),
      onChoose: (side, act) => this.acts.post(`compare/${side}/${act}`),
      onVersion: (place, version) => this.acts.turnTo(place, version),
    });
    this.composer = new Composer({
      send: (said, images, files) => this.acts.send(said, images, files),
      command: (line) => this.acts.command(line),
      stop: () => this.acts.post("stop"),
      models: () => this.models.open(),
      queue: (keys, send) =>
        this.acts.act(() => request("PUT", `${this.path()}/queue`, { keys, send })),
      editLast: () => this.editLast(),
      say: (line) => this.slash.typed(line),
    });
    this.slash = new Slash(this.composer);
    this.models = new Models(
      (model) => this.acts.choose(model),
      () => this.model,
    );
    this.recent = new Recent((path) => this.go(path));
    this.sessions = new Sessions({
      current: () => this.session,
      go: (path) => this.go(path),
      theme: () => switchTheme(),
      renamed: (id, title) => {
        if (id === this.session) this.setTitle(title);
      },
      act: (does) => this.acts.act(does),
      connected: () => this.setConnected(true),
      listed: (sessions) => this.recent.show(sessions),
      bar: this.bar,
      signedOut: () => {
        if (this.member) location.assign("/signin");
        else app.replaceChildren(h("p", { class: "signed-out" }, text.signIn));
      },
    });
    this.first = new FirstRun({ ready: () => this.go("/"), go: (path) => this.go(path) });
    this.dock = h("div", { class: "dock" }, this.slash.element, this.jump, this.composer.element);
    this.page = h("div", {
      class: "scroll",
      tabindex: "0",
      role: "region",
      "aria-label": "Page",
      hidden: true,
    });
    const scrim = h("button", {
      class: "scrim",
      type: "button",
      tabindex: "-1",
      "aria-hidden": "true",
      onclick: () => this.setDrawer(false),
    });
    this.main = h(
      "main",
      { class: "main" },
      this.bar.element,
      this.scroller,
      this.dock,
      this.recent.element,
      this.page,
    );
    app.replaceChildren(
      this.sessions.sidebar.element,
      scrim,
      this.main,
      this.models.element,
      keySheet(),
    );
    this.keyboard = new Keyboard(this);
    addEventListener("popstate", () => this.route());
  }

  path() {
    return `/api/sessions/${encodeURIComponent(this.session)}`;
  }

  // ---- navigation

  /** @param {string} path */
  go(path) {
    this.setDrawer(false);
    if (path !== location.pathname) history.pushState(null, "", path);
    this.route();
  }

  /** Show another page, or the conversation (null). @param {Node|null} other */
  showPage(other) {
    this.page.hidden = !other;
    this.setFresh(false);
    this.bar.showTools(!other);
    this.scroller.hidden = this.dock.hidden = Boolean(other);
    if (other) this.page.replaceChildren(other);
  }

  route() {
    const session = /^\/s\/([^/]+)$/.exec(location.pathname);
    const other = { "/providers": showProviders, "/numbers": showNumbers }[location.pathname];
    this.showPage(other ? h("div") : null);
    if (other) {
      this.unlisten();
      this.opening += 1;
      this.session = "";
      this.start().catch(() => {});
      other(this.page).catch((problem) =>
        this.page.replaceChildren(notice("bad", [problem.message])),
      );
    } else if (session) this.open(decodeURIComponent(session[1]), location.hash.slice(1));
    else this.fresh();
    this.sessions.sidebar.showPlace();
    this.sessions.list();
  }

  /** Show an empty session; it is created with its first message. */
  fresh() {
    this.unlisten();
    this.opening += 1;
    this.session = "";
    this.setTitle("");
    this.composer.budget.show({ used: null, window: null, cost: null }, true);
    this.thread.clear();
    this.thread.element.append(h("h2", { class: "fresh-title" }, text.emptyTitle));
    this.setFresh(true);
    this.composer.open("");
    this.composer.showQueue({ items: [], held: false });
    this.setRunning(false);
    this.composer.box.focus();
    this.welcome().catch(() => {});
  }

  /**
   * Show the model for a new session; if there is none, ask the user to choose one.
   */
  async welcome() {
    await this.start();
    const model = await this.first.look();
    if (this.session || location.pathname !== "/") return;
    if (model) this.setModel(model, this.isLocal(model));
    else this.showPage(this.first.element);
  }

  /** Load the model for new sessions and the local providers. */
  async start() {
    const found = await request("GET", "/api/start");
    this.local = new Set(found.local);
    this.member = found.member;
    if (this.member) this.sessions.sidebar.showMember(this.member, found.signs_out);
    return found;
  }

  /** Centre the message box for the first message. @param {boolean} fresh */
  setFresh(fresh) {
    this.main.toggleAttribute("data-fresh", fresh);
    this.recent.element.hidden = !fresh;
    this.bar.menu.hidden = fresh;
  }

  /** Draw a session; with `at`, around that message. @param {string} id @param {string} [at] */
  async open(id, at = "") {
    this.unlisten();
    this.setFresh(false);
    const again = this.session === id;
    this.session = id;
    const opening = ++this.opening;
    const read = again && !at ? this.thread.reading() : null;
    const part = at ? `?at=${encodeURIComponent(at)}` : read ? `?around=${read.place}` : "";
    this.composer.open(id);
    try {
      if (this.local.size === 0) await this.start().catch(() => {});
      const found = await insist("GET", this.path() + part, undefined, (lost) =>
        this.setConnected(!lost),
      );
      if (opening !== this.opening) return;
      this.about(found);
      this.thread.draw(
        found.events.filter((/** @type {PageEvent} */ event) => !this.isOurs(event)),
        found.first,
        found.newest ? null : found.end,
        read,
      );
      if (at && found.at !== null) this.thread.goTo(found.at);
      if (location.hash) history.replaceState(null, "", location.pathname);
      this.unlisten = listen(id, found.place, {
        events: (events) => this.take(events),
        reset: () => this.open(id),
        state: (connected) => this.setConnected(connected),
      });
      if (!again && !document.querySelector("dialog[open], .approval")) this.composer.box.focus();
    } catch (problem) {
      if (opening !== this.opening) return;
      this.thread.clear();
      this.say(problem);
    }
  }

  /** @param {number} first */
  async earlier(first) {
    const asked = this.opening;
    const found = await request("GET", `${this.path()}?before=${first}`);
    if (asked === this.opening) this.thread.prepend(found.events, found.first);
  }

  /** @param {number} end */
  async later(end) {
    const asked = this.opening;
    const found = await request("GET", `${this.path()}?from=${end}`);
    if (asked !== this.opening) return;
    if (found.newest) await this.open(this.session);
    else this.thread.append(found.events, found.end);
  }

  // ---- events

  /** @param {PageEvent[]} events */
  take(events) {
    this.thread.add(events.filter((event) => !this.isOurs(event)));
  }

  /**
   * Handle events of the page outside the thread.
   * @param {PageEvent} event
   * @returns {event is Exclude<PageEvent, ThreadEvent>}
   */
  isOurs(event) {
    switch (event.type) {
      case "queue":
        this.composer.showQueue(event);
        return true;
      case "session":
        this.about({ ...event, running: this.running });
        return true;
      case "redraw":
        this.open(this.session);
        return true;
      case "deleted":
        this.say(new Error(text.deleted));
        return true;
      case "turn_start":
        this.setRunning(true);
        this.sessions.list();
        return false;
      case "turn_end":
        this.about({ ...event, running: false });
        this.sessions.list();
        return false;
      default:
        return false;
    }
  }

  /** @param {any} found */
  about(found) {
    this.setTitle(found.title);
    this.setModel(found.model, this.isLocal(found.model));
    this.composer.budget.show(found, this.isLocal(found.model));
    this.setRunning(found.running);
    this.saved = found.saved;
    this.showState();
  }

  /** @param {string} model */
  isLocal(model) {
    return this.local.has(model.slice(0, model.indexOf("/")));
  }

  // ---- the bar
  editLast() {
    const last = [...this.thread.element.querySelectorAll(".from-user [data-key=edit]")].pop();
    if (!this.running) /** @type {HTMLElement|undefined} */ (last)?.click();
  }

  /** @param {unknown} problem */
  say(problem) {
    const lines =
      problem instanceof ApiError
        ? [problem.message, problem.hint].filter(Boolean)
        : [String(/** @type {Error} */ (problem).message ?? problem)];
    this.thread.addNote(notice("bad", lines));
  }

  /** @param {string} title */
  setTitle(title) {
    this.title = title || text.untitled;
    this.bar.heading.textContent = this.title;
    document.title = title ? `${title} · ${text.name}` : text.name;
  }

  /** @param {string} model @param {boolean} local */
  setModel(model, local) {
    this.model = model;
    this.composer.setModel(model, local, this.other);
  }

  /** Choose a second model to compare with, or stop comparing. */
  chooseOther() {
    if (this.other) this.compareWith("");
    else this.models.open((model) => this.compareWith(model), text.compareWith);
  }

  /** Compare with another model from now on, or stop comparing (""). @param {string} other */
  compareWith(other) {
    this.other = other;
    this.bar.showCompared(Boolean(other));
    this.setModel(this.model, this.isLocal(this.model));
    this.composer.box.focus();
  }

  /** @param {boolean} running */
  setRunning(running) {
    this.running = running;
    this.composer.setRunning(running);
  }

  /** @param {boolean} connected */
  setConnected(connected) {
    if (this.connected !== connected) {
      this.connected = connected;
      this.showState();
    }
  }

  showState() {
    this.bar.showState(this.connected, this.session ? this.saved : null);
  }

  /** Open or close the session list as a drawer. @param {boolean} open */
  setDrawer(open) {
    root.dataset.sidebar = open ? "open" : "closed";
  }
}

new Page().route();
