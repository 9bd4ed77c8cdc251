// Saved sessions: list, search, menus, import and export.

import { ApiError, request, sendFile } from "./api.js";
import { readDraft, writeDraft } from "./composer.js";
import { ask, tell } from "./dialog.js";
import { h, icon } from "./dom.js";
import { Sidebar } from "./sidebar.js";
import { text } from "./text.js";

/** @import { Bar } from "./bar.js" */
/** @import { SessionRow } from "./wire.d.ts" */

const MORE = 1000; // sessions by which a list grows

export class Sessions {
  /**
   * @param {{
   *   current: () => string,
   *   go: (path: string) => void,
   *   theme: () => void,
   *   renamed: (id: string, title: string) => void,
   *   act: (does: () => Promise<unknown>) => Promise<unknown>,
   *   connected: () => void,
   *   listed: (sessions: SessionRow[]) => void,
   *   bar: Bar,
   *   signedOut: () => void
   * }} page
   */
  constructor(page) {
    this.page = page;
    this.shelf = "open";
    this.limit = 0;
    this.asked = 0;
    this.sidebar = new Sidebar({
      open: (id, message) => page.go(`/s/${id}${message ? `#${message}` : ""}`),
      fresh: () => page.go("/"),
      search: () => this.list(),
      more: (session, at) => this.menu(session, at),
      go: page.go,
      theme: page.theme,
      shelf: (name) => this.turnTo(name),
      grow: () => {
        this.limit += MORE;
        this.list();
      },
      take: (files) => this.import(files),
    });
  }

  /** Redraw the list. */
  async list() {
    const asked = ++this.asked;
    const words = this.sidebar.words();
    const limit = this.limit ? `&limit=${this.limit}` : "";
    try {
      const found = await request(
        "GET",
        `/api/sessions?shelf=${this.shelf}&words=${encodeURIComponent(words)}${limit}`,
      );
      if (asked !== this.asked) return;
      this.sidebar.show(found, this.shelf, this.page.current(), (id) => Boolean(readDraft(id)));
      if (this.shelf === "open" && !words) this.page.listed(found.sessions);
      this.page.bar.showTags(found.sessions, this.page.current());
      this.page.connected();
    } catch (problem) {
      if (problem instanceof ApiError && problem.status === 401) this.page.signedOut();
      else if (problem instanceof ApiError) this.sidebar.say(problem.message);
    }
  }

  /** @param {string} shelf */
  turnTo(shelf) {
    this.shelf = shelf;
    this.limit = 0;
    this.list();
  }

  /** @param {SessionRow} session @param {HTMLElement} at */
  menu(session, at) {
    const entry = (
      /** @type {string} */ mark,
      /** @type {string} */ label,
      /** @type {() => void} */ act,
    ) =>
      h(
        "button",
        {
          type: "button",
          role: "menuitem",
          onclick: () => {
            menu.remove();
            act();
          },
        },
        icon(mark),
        label,
      );
    const open = [
      entry("edit", text.rename, () => this.rename(session)),
      entry("tag", text.tags, () => this.tag(session)),
      entry("pin", session.pinned ? text.unpin : text.pin, () =>
        this.change(session, { pinned: !session.pinned }),
      ),
      entry("out", text.export, () => this.export(session)),
      h("hr"),
      entry("archive", text.archive, () => this.change(session, { shelf: "archived" })),
      entry("trash", text.toTrash, () => this.change(session, { shelf: "trash" })),
    ];
    const away = [
      entry("retry", text.restore, () => this.change(session, { shelf: "open" })),
      entry("out", text.export, () => this.export(session)),
      h("hr"),
      entry("trash", text.removeForever, () => this.remove(session)),
    ];
    const menu = h(
      "div",
      { class: "popover menu", popover: "auto", role: "menu", "aria-label": text.session },
      ...(session.shelf === "open" ? open : away),
    );
    show(menu, at);
  }

  /** Open the menu of the open session. @param {string} id @param {HTMLElement} at */
  async menuOf(id, at) {
    if (!id) return;
    await this.page.act(async () =>
      this.menu(await request("GET", `/api/sessions/${encodeURIComponent(id)}/row`), at),
    );
  }

  /**
   * @param {SessionRow} session
   * @param {object} changes
   * @returns {Promise<any>} the session as it is then; nothing when that failed
   */
  change(session, changes) {
    return this.page.act(async () => {
      const found = await request(
        "PATCH",
        `/api/sessions/${encodeURIComponent(session.id)}`,
        changes,
      );
      if (found.shelf !== "open" && session.id === this.page.current()) this.page.go("/");
      else await this.list();
      return found;
    });
  }

  /** @param {SessionRow} session */
  rename(session) {
    const field = /** @type {HTMLInputElement} */ (
      h("input", {
        class: "input",
        type: "text",
        value: session.title,
        "aria-label": text.newTitle,
      })
    );
    ask(text.rename, field, text.rename, () =>
      this.change(session, { title: field.value }).then(
        (found) => found && this.page.renamed(session.id, found.title),
      ),
    );
  }

  /** @param {SessionRow} session */
  tag(session) {
    const field = /** @type {HTMLInputElement} */ (
      h("input", {
        class: "input",
        type: "text",
        value: session.tags.join(" "),
        placeholder: text.tagsHint,
        "aria-label": text.tags,
      })
    );
    ask(text.tags, field, text.save, () =>
      this.change(session, { tags: field.value.split(/[\s,]+/).filter(Boolean) }),
    );
  }

  /** @param {SessionRow} session */
  remove(session) {
    ask(text.deleteQuestion(session.title || text.untitled), null, text.removeForever, () =>
      this.page.act(async () => {
        await request("DELETE", `/api/sessions/${encodeURIComponent(session.id)}`);
        writeDraft(session.id, "");
        if (session.id === this.page.current()) this.page.go("/");
        else await this.list();
      }),
    );
  }

  /** @param {SessionRow} session */
  async export(session) {
    await this.page.act(async () => {
      const { formats } = await request("GET", "/api/formats");
      const field = /** @type {HTMLSelectElement} */ (
        h(
          "select",
          { class: "input", "aria-label": text.format },
          ...formats.map((/** @type {{ name: string, help: string }} */ format) =>
            h("option", { value: format.name }, `${format.name}: ${format.help}`),
          ),
        )
      );
      ask(text.exportAs(session.title), field, text.export, () =>
        location.assign(
          `/api/sessions/${encodeURIComponent(session.id)}/export?format=${field.value}`,
        ),
      );
    });
  }

  /** Import sessions from files. @param {File[]} files */
  async import(files) {
    /** @type {[string, string[]][]} */ const results = [];
    for (const file of files) {
      this.sidebar.say(text.importing(file.name));
      try {
        const found = await sendFile("/api/import", file);
        results.push([text.imported(file.name), [text.importFound(found), ...found.notes]]);
      } catch (problem) {
        const lines =
          problem instanceof ApiError ? [problem.message, problem.hint] : [String(problem)];
        results.push([text.notImported(file.name), lines.filter(Boolean)]);
      }
    }
    this.sidebar.say("");
    if (results.length > 0) tell(results);
    await this.list();
  }
}

/** Open a menu beside an element; closing it removes it and returns the focus to the element.
 * @param {HTMLElement} menu @param {HTMLElement} at */
function show(menu, at) {
  document.body.append(menu);
  menu.style.position = "fixed";
  menu.style.inset = "auto";
  menu.showPopover();
  const box = at.getBoundingClientRect();
  const top = Math.min(box.bottom + 4, innerHeight - menu.offsetHeight - 8);
  menu.style.top = `${Math.max(8, top)}px`;
  menu.style.left = `${Math.max(8, Math.min(box.left, innerWidth - menu.offsetWidth - 8))}px`;
  const entries = /** @type {HTMLElement[]} */ ([...menu.querySelectorAll("[role=menuitem]")]);
  entries[0].focus();
  menu.addEventListener("keydown", (event) => {
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (by === 0) return;
    event.preventDefault();
    entries[
      (entries.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + by + entries.length) %
        entries.length
    ].focus();
  });
  menu.addEventListener("toggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState !== "closed") return;
    menu.remove();
    if (document.activeElement === document.body) at.focus();
  });
}
