// Puts the page together: which session is shown, what the keys do, and where each event goes.

import { ApiError, insist, listen, request, upload } from "./api.js";
import { Composer, writeDraft } from "./composer.js";
import { ask } from "./dialog.js";
import { h, icon, iconButton } from "./dom.js";
import { FirstRun } from "./first.js";
import { keySheet } from "./keys.js";
import { Models } from "./models.js";
import { showNumbers } from "./numbers.js";
import { showProviders } from "./providers.js";
import { notice } from "./reply.js";
import { Sessions } from "./sessions.js";
import { Slash } from "./slash.js";
import { table } from "./table.js";
import { text } from "./text.js";
import { Thread } from "./thread.js";
import { turnVersion } from "./versions.js";

const READING = 400; // milliseconds for which a question that appeared takes no key
const root = document.documentElement;
const app = /** @type {HTMLElement} */ (document.getElementById("app"));

class Page {
  constructor() {
    this.session = "";
    this.title = "";
    this.model = "";
    this.running = false;
    this.saved = true;
    this.connected = true;
    this.opening = 0;       // counts what is opened: only the newest is drawn
    /** @type {Set<string>} */ this.local = new Set();
    /** What is done on the server one after the other. @type {Promise<unknown>} */ this.acts = Promise.resolve();
    /** @type {() => void} */ this.unlisten = () => {};
    this.scroller = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Conversation" });
    this.jump = h("button", { class: "jump", type: "button", "aria-label": text.jump, title: `${text.jump} (End)` }, icon("latest"));
    this.heading = h("h1", { class: "bar-title", dir: "auto" });
    this.state = h("span", { class: "saved", role: "status" });
    this.thread = new Thread(this.scroller, this.jump, {
      onContinue: () => this.post("continue"),
      onRetry: () => this.post("retry"),
      onRetryWith: () => this.models.open((model) => this.post("retry", { model })),
      onDecide: (ask, choice) => this.post("answers", { ask, choice }),
      onChooseModel: () => this.models.open(),
      onAsked: (question) => this.asked(question),
      onAnswered: () => this.composer.box.focus(),
      onEdit: (place, said) => this.edit(place, said),
      onEarlier: (first) => this.earlier(first),
      isLocal: (model) => this.isLocal(model),
      onChoose: (side, act) => this.post(`compare/${side}/${act}`),
      onVersion: (place, version) => this.turnTo(place, version),
    });
    this.composer = new Composer({
      send: (said, images, files) => this.send(said, images, files),
      command: (line) => this.command(line),
      stop: () => this.post("stop"),
      models: () => this.models.open(),
      queue: (keys, send) => this.act(() => request("PUT", `${this.path()}/queue`, { keys, send })),
      editLast: () => this.editLast(),
      say: (line) => this.slash.typed(line),
    });
    this.slash = new Slash(this.composer);
    this.models = new Models((model) => this.command(`/model ${model}`), () => this.model);
    this.sessions = new Sessions({
      current: () => this.session,
      go: (path) => this.go(path),
      theme: () => setTheme(theme() === "dark" ? "light" : "dark"),
      renamed: (id, title) => { if (id === this.session) this.setTitle(title); },
      act: (does) => this.act(does),
      connected: () => this.setConnected(true),
      signedOut: () => app.replaceChildren(h("p", { class: "signed-out" }, text.signIn)),
    });
    this.first = new FirstRun({ ready: () => this.go("/"), go: (path) => this.go(path) });
    this.dock = h("div", { class: "dock" }, this.slash.element, this.jump, this.composer.element);
    this.page = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Page", hidden: true });
    this.menuButton = iconButton("more", `${text.more} for this session`, (event) => this.sessions.menuOf(this.session, /** @type {HTMLElement} */ (event.currentTarget)),
      { "aria-haspopup": "menu", class: "button icon-only quiet" });
    this.other = "";        // the model that is asked the same, while two are compared
    this.compareButton = h("button", { class: "button quiet hide-phone-label", type: "button", "aria-pressed": "false", title: text.compare,
      onclick: () => (this.other ? this.compareWith("") : this.models.open((model) => this.compareWith(model), text.compareWith)) },
    icon("compare"), h("span", {}, text.compare));
    this.bar = h("header", { class: "bar" },
      iconButton("sidebar", "Show sessions", () => setDrawer(true), { class: "button icon-only quiet only-narrow", "data-open": "sidebar" }),
      this.heading, h("span", { class: "spacer" }), this.state, this.compareButton, this.menuButton);
    const scrim = h("button", { class: "scrim", type: "button", tabindex: "-1", "aria-hidden": "true", onclick: () => setDrawer(false) });
    this.main = h("main", { class: "main" }, this.bar, this.scroller, this.dock, this.page);
    app.replaceChildren(this.sessions.sidebar.element, scrim, this.main, this.models.element, keySheet());
    document.addEventListener("keydown", (event) => this.key(event));
    addEventListener("popstate", () => this.route());
  }

  path() {
    return `/api/sessions/${encodeURIComponent(this.session)}`;
  }

  // ---- where we are

  /** @param {string} path */
  go(path) {
    setDrawer(false);
    if (path !== location.pathname) history.pushState(null, "", path);
    this.route();
  }

  /** Show a page, or (null) the conversation. @param {Node|null} other */
  showPage(other) {
    this.page.hidden = !other;
    this.bar.classList.toggle("bar-page", Boolean(other));
    for (const part of [this.scroller, this.dock, this.heading, this.state, this.compareButton, this.menuButton]) part.hidden = Boolean(other);
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
      other(this.page).catch((problem) => this.page.replaceChildren(notice("bad", [problem.message])));
    } else if (session) this.open(decodeURIComponent(session[1]));
    else this.fresh();
    this.sessions.list();
  }

  /** An empty page; the session is made with its first message. */
  fresh() {
    this.unlisten();
    this.opening += 1;
    this.session = "";
    this.setTitle("");
    this.composer.budget.show({ used: null, window: null, cost: null }, true);
    this.thread.clear();
    this.thread.element.append(h("div", { class: "start" }, h("h2", { class: "start-title" }, text.emptyTitle), h("p", {}, text.emptyHint)));
    this.composer.open("");
    this.composer.showQueue({ items: [], held: false });
    this.setRunning(false);
    this.composer.box.focus();
    this.welcome().catch(() => {});
  }

  /** Name the model that a new session begins with; where there is none, ask where answers are to come from. */
  async welcome() {
    await this.start();
    const model = await this.first.look();
    if (this.session || location.pathname !== "/") return;
    if (model) this.setModel(model, this.isLocal(model));
    else this.showPage(this.first.element);
  }

  /** What a new session begins with, and which providers are on this computer. */
  async start() {
    const found = await request("GET", "/api/start");
    this.local = new Set(found.local);
    return found;
  }

  /** @param {string} id */
  async open(id) {
    this.unlisten();
    const again = this.session === id;
    this.session = id;
    const opening = ++this.opening;
    this.composer.open(id);
    try {
      if (this.local.size === 0) await this.start().catch(() => {});
      const found = await insist("GET", this.path(), undefined, (lost) => this.setConnected(!lost));
      if (opening !== this.opening) return;
      this.about(found);
      this.thread.draw(found.events.filter((event) => !this.isOurs(event)), found.first, again);
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
    const found = await request("GET", `${this.path()}?before=${first}`);
    this.thread.prepend(found.events, found.first);
  }

  // ---- what happens

  /** @param {any[]} events */
  take(events) {
    this.thread.add(events.filter((event) => !this.isOurs(event)));
  }

  /** Handle what concerns the page and not the thread. @param {any} event */
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

  // ---- what the user does

  /** @param {string} said @param {any[]} images @param {File[]} others */
  async send(said, images, others) {
    const key = crypto.randomUUID();
    await this.act(async () => {
      try {
        if (!this.session) await this.begin();
        const files = await Promise.all(others.map(upload));
        if (this.other) return await request("POST", `${this.path()}/compare`, { key, text: said, images, files, model: this.other });
        if (!this.running) this.thread.addUnsent(key, said);
        await insist("POST", `${this.path()}/messages`, { key, text: said, images, files }, (lost) => this.setConnected(!lost));
      } catch (problem) {
        this.thread.dropUnsent(key);
        this.composer.giveBack(images, others);
        throw problem;
      }
    }, said);
  }

  async begin() {
    const found = await insist("POST", "/api/sessions", { model: this.model }, (lost) => this.setConnected(!lost));
    this.thread.clear();
    writeDraft("", "");
    writeDraft(found.id, this.composer.box.value);      // what is typed meanwhile
    history.pushState(null, "", `/s/${found.id}`);
    await this.open(found.id);
  }

  /** @param {string} line @param {boolean} [confirmed] */
  async command(line, confirmed = false) {
    await this.act(async () => {
      if (!this.session) await this.begin();
      const found = await request("POST", `${this.path()}/commands`, { line, confirmed });
      if (found.session !== undefined) this.go(found.session ? `/s/${found.session}` : "/");
      else if (found.redraw) await this.open(this.session);
      this.showOutcome(line, found);
      if (found.model) this.setModel(found.model, this.isLocal(found.model));
    }, line);
  }

  /** @param {string} line @param {any} found */
  showOutcome(line, found) {
    if (found.show === "text" && found.text) this.thread.element.append(outcome(line, h("pre", { tabindex: "0" }, found.text)));
    if (found.show === "confirm") ask(found.text, null, text.yes, () => this.command(line, true));
    if (found.show === "edit") this.composer.fill(found.text);
    if (found.show === "table") this.thread.element.append(outcome(line, table(found)));
    this.thread.toEnd();
  }

  /** @param {string} what @param {object} [body] */
  post(what, body = {}) {
    return this.acting(() => request("POST", `${this.path()}/${what}`, body), "");
  }

  /** Do something on the server, after what was begun before it; what fails is said, and typed text comes back.
   * @param {() => Promise<any>} does @param {string} [said] @returns {Promise<any>} what it returns; nothing when it failed */
  act(does, said = "") {
    const acting = this.acts.then(() => this.acting(does, said));
    this.acts = acting;
    return acting;
  }

  /** @param {() => Promise<unknown>} does @param {string} said */
  async acting(does, said) {
    try {
      return await does();
    } catch (problem) {
      if (said && !this.composer.box.value) this.composer.fill(said);
      this.say(problem);
    }
  }

  /** Ask something else in the place of a message. @param {number} place @param {string} said @returns {Promise<boolean>} whether it was sent */
  async edit(place, said) {
    const key = crypto.randomUUID();
    let sent = false;
    await this.act(async () => {
      await insist("POST", `${this.path()}/edits`, { key, place, text: said }, (lost) => this.setConnected(!lost));
      sent = true;
    });
    return sent;
  }

  /** Show another version of a message; the focus stays at its switcher. @param {number} place @param {string} version */
  turnTo(place, version) {
    const by = /** @type {HTMLElement|null} */ (document.activeElement)?.dataset.turn;
    return this.act(async () => {
      await request("POST", `${this.path()}/versions`, { version });
      await this.open(this.session);
      const switcher = this.thread.element.querySelector(`.message[data-place="${place}"] .switcher`);
      const turned = switcher?.querySelector(`[data-turn="${by}"]:enabled`) ?? switcher?.querySelector("button:enabled");
      if (by) /** @type {HTMLElement|null|undefined} */ (turned)?.focus({ preventScroll: true });
    });
  }

  editLast() {
    const last = [...this.thread.element.querySelectorAll(".from-user [data-key=edit]")].pop();
    if (!this.running) /** @type {HTMLElement|undefined} */ (last)?.click();
  }

  /** @param {unknown} problem */
  say(problem) {
    const lines = problem instanceof ApiError ? [problem.message, problem.hint].filter(Boolean) : [String(/** @type {Error} */ (problem).message ?? problem)];
    this.thread.element.append(notice("bad", lines));
    this.thread.toEnd();
  }

  // ---- what the bar says

  /** @param {string} title */
  setTitle(title) {
    this.title = title || text.untitled;
    this.heading.textContent = this.title;
    document.title = title ? `${title} · ${text.name}` : text.name;
  }

  /** @param {string} model @param {boolean} local */
  setModel(model, local) {
    this.model = model;
    this.composer.setModel(model, local, this.other);
  }

  /** Ask two models from now on, or (with "") one again. @param {string} other */
  compareWith(other) {
    this.other = other;
    this.compareButton.setAttribute("aria-pressed", String(Boolean(other)));
    const label = other ? text.stopComparing : text.compare;
    this.compareButton.replaceChildren(icon("compare"), h("span", {}, label));
    this.compareButton.setAttribute("aria-label", label);
    this.compareButton.title = label;
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
    const said = !this.connected ? text.connectionLost : !this.session ? "" : this.saved ? text.saved : text.notSaved;
    this.state.replaceChildren(...(said ? [icon(this.connected && this.saved ? "check" : "warn"), h("span", {}, said)] : []));
    this.state.title = this.connected ? "" : text.serverGone;
    this.state.dataset.state = this.connected ? "" : "warn";
  }

  // ---- keys

  /** @param {KeyboardEvent} event */
  key(event) {
    const typing = /** @type {HTMLElement} */ (event.target).matches?.("input, textarea, select");
    const control = event.ctrlKey || event.metaKey;
    if (event.key === "Escape") return void this.escape();
    else if (control && event.key === "k") this.sessions.sidebar.find.focus();
    else if (control && event.key === "u") this.composer.picker.click();
    else if (event.altKey && event.code === "KeyN") this.go("/");
    else if (event.altKey && event.code === "KeyM") this.models.open();
    else if (event.altKey && event.code === "KeyS") setDrawer(root.dataset.sidebar !== "open");
    else if (typing || control || event.altKey) return;
    else if (!this.letter(event)) return;
    event.preventDefault();
  }

  escape() {
    if (root.dataset.sidebar === "open") setDrawer(false);
    else if (this.slash.close()) return;
    else if (this.running && !document.querySelector(":popover-open")) this.post("stop");
  }

  /** A question has the keyboard unless something is being typed. @param {HTMLElement} question */
  asked(question) {
    const at = document.activeElement;
    if (at === document.body || (at === this.composer.box && !this.composer.box.value)) question.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  letter(event) {
    const question = /** @type {HTMLElement|null} */ (document.querySelector(".approval"));
    const choose = { y: "once", n: "no" }[event.key.toLowerCase()];
    if (question && choose) answer(question, choose);
    else if (event.key === "?") document.getElementById("keys")?.togglePopover();
    else if (event.key === "/") this.composer.fill("/");
    else if (event.key === "End") this.thread.toEnd();
    else if (event.key.toLowerCase() === "r" && !this.running) this.post("retry");
    else if (event.key.toLowerCase() === "c") /** @type {HTMLElement|null} */ ([...document.querySelectorAll(".from-model [data-key=copy]")].pop())?.click();
    else if (event.key === "[" || event.key === "]") turnVersion(this.thread.element, event.key === "[" ? -1 : 1);
    else if (event.key.toLowerCase() === "j" || event.key.toLowerCase() === "k") this.step(event.key.toLowerCase() === "j" ? 1 : -1);
    else return false;
    return true;
  }

  /** @param {number} by */
  step(by) {
    const messages = /** @type {HTMLElement[]} */ ([...this.thread.element.querySelectorAll(".message")]);
    const top = this.scroller.getBoundingClientRect().top + 8;
    const now = messages.findIndex((message) => message.getBoundingClientRect().bottom > top);
    const next = messages[Math.max(0, Math.min(messages.length - 1, now + by))];
    this.thread.following = false;
    next?.scrollIntoView({ block: "start" });
  }
}

/** Answer a question by a key, unless it appeared so late that the key was meant for something else.
 * @param {HTMLElement} question @param {string} choice */
function answer(question, choice) {
  if (performance.now() - Number(question.dataset.since) < READING) return;
  /** @type {HTMLElement|null} */ (question.querySelector(`[data-choice=${choice}]`))?.click();
}

/** @param {string} line @param {Node} shown */
function outcome(line, shown) {
  return h("section", { class: "outcome", "aria-label": line }, h("p", { class: "outcome-line" }, h("code", {}, line)), shown);
}

/** @param {boolean} open */
function setDrawer(open) {
  root.dataset.sidebar = open ? "open" : "closed";
}

function theme() {
  return root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

/** @param {string} name */
function setTheme(name) {
  root.dataset.theme = name;
  try {
    localStorage.setItem("theme", name);
  } catch {
    // a private window: the choice lasts for this page
  }
}

try {
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;
} catch {
  // no storage: the system's theme
}
new Page().route();
