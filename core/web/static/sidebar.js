// The session list: pinned, then by day, with search, tag filter, and marks for answering sessions
// and drafts.

import { button, h, icon, iconButton, onPage } from "./dom.js";
import { sessionRow } from "./session_row.js";
import { text } from "./text.js";

/** @import { SessionRow } from "./wire.d.ts" */

const DAY = 86_400_000; // milliseconds
const TAGS = 3; // that are shown before the others are asked for

export class Sidebar {
  /**
   * @param {{
   *   open: (id: string, message?: string) => void,
   *   fresh: () => void,
   *   search: () => void,
   *   more: (session: SessionRow, at: HTMLElement) => void,
   *   go: (path: string) => void,
   *   theme: () => void,
   *   shelf: (name: string) => void,
   *   grow: () => void,
   *   take: (files: File[]) => void
   * }} actions
   */
  constructor(actions) {
    this.actions = actions;
    this.tag = "";
    this.allTags = false;
    /** @type {string[]} */ this.tagNames = [];
    this.tags = h("div", {
      class: "tags",
      role: "group",
      "aria-label": text.filterByTag,
      hidden: true,
    });
    this.list = h("div", {
      class: "sidebar-list",
      tabindex: "0",
      role: "region",
      "aria-label": "Session list",
    });
    this.member = h("div", { class: "sidebar-member", hidden: true });
    this.said = h("p", { class: "sidebar-empty", role: "status", hidden: true });
    this.find = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "search",
        placeholder: text.searchSessions,
        autocomplete: "off",
        oninput: () => actions.search(),
      })
    );
    this.picker = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "file",
        hidden: true,
        multiple: true,
        "aria-label": text.import,
        onchange: () => {
          actions.take([...(this.picker.files ?? [])]);
          this.picker.value = "";
        },
      })
    );
    this.element = h(
      "nav",
      { class: "sidebar", id: "sidebar", "aria-label": "Sessions" },
      h(
        "div",
        { class: "sidebar-top" },
        h(
          "a",
          { class: "brand", href: "/", onclick: onPage(() => actions.fresh()) },
          icon("mark"),
          h("span", {}, text.name),
        ),
        iconButton("new", text.newSession, () => actions.fresh(), {
          title: `${text.newSession} (Alt+N)`,
        }),
        iconButton("close", "Close the session list", () => actions.go(location.pathname), {
          class: "button icon-only quiet only-narrow",
          "data-close": "sidebar",
        }),
      ),
      h(
        "div",
        { class: "sidebar-find" },
        h(
          "label",
          { class: "field-search" },
          icon("search"),
          h("span", { class: "sr" }, text.searchSessions),
          this.find,
          h("kbd", {}, "Ctrl K"),
        ),
        this.tags,
        this.said,
      ),
      this.list,
      this.member,
      h(
        "div",
        { class: "sidebar-foot" },
        h(
          "a",
          {
            class: "button quiet",
            href: "/providers",
            onclick: onPage(() => actions.go("/providers")),
          },
          icon("sliders"),
          "Providers",
        ),
        h(
          "a",
          {
            class: "button quiet",
            href: "/numbers",
            onclick: onPage(() => actions.go("/numbers")),
          },
          icon("chart"),
          "Numbers",
        ),
        h("span", { class: "spacer" }),
        h(
          "button",
          {
            class: "button icon-only quiet",
            type: "button",
            popovertarget: "keys",
            "aria-label": "Keyboard shortcuts",
            title: "Keyboard shortcuts (?)",
          },
          icon("keys"),
        ),
        h(
          "button",
          {
            class: "button icon-only quiet",
            type: "button",
            "aria-label": "Switch between light and dark",
            title: "Light or dark",
            onclick: actions.theme,
          },
          icon("sun", "when-dark"),
          icon("moon", "when-light"),
        ),
      ),
      this.picker,
    );
    this.element.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.element.toggleAttribute("data-drop", true);
    });
    this.element.addEventListener("dragleave", () => this.element.removeAttribute("data-drop"));
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      this.element.removeAttribute("data-drop");
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length > 0) actions.take(files);
    });
  }

  /** The search words and the chosen tag. */
  words() {
    return [this.tag && `tag:${this.tag}`, this.find.value.trim()].filter(Boolean).join(" ");
  }

  /**
   * Show the signed-in member on a team page.
   * @param {string} name
   * @param {boolean} signsOut
   */
  showMember(name, signsOut) {
    this.member.hidden = false;
    this.member.replaceChildren(
      h("span", { class: "sidebar-name", dir: "auto", title: name }, name),
      ...(signsOut
        ? [h("a", { class: "button quiet small", href: "/signout" }, text.signOut)]
        : []),
    );
  }

  /** Mark the current page at the bottom of the list. */
  showPlace() {
    for (const link of this.element.querySelectorAll(".sidebar-foot a"))
      if (link.getAttribute("href") === location.pathname)
        link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
  }

  /** @param {string} line */
  say(line) {
    this.said.hidden = !line;
    this.said.textContent = line;
  }

  /**
   * @param {any} found
   * @param {string} shelf
   * @param {string} current
   * @param {(id: string) => boolean} hasDraft
   */
  show(found, shelf, current, hasDraft) {
    this.say("");
    if (!this.words()) this.tagNames = found.tags;
    this.drawTags();
    const nodes = shelf === "open" ? [] : [this.shelfHead(shelf)];
    let day = "";
    /** @type {HTMLElement|null} */ let group = null;
    for (const session of found.sessions) {
      const heading = this.find.value
        ? text.found
        : session.pinned
          ? text.pinned
          : dayOf(session.updated * 1000);
      if (heading !== day || !group) {
        day = heading;
        group = h("ul", {});
        nodes.push(
          h("h2", { class: "day" }, heading === text.pinned && icon("pin"), heading),
          group,
        );
      }
      const marks = { current: session.id === current, draft: hasDraft(session.id) };
      group.append(sessionRow(session, marks, this.actions));
    }
    if (found.sessions.length === 0)
      nodes.push(h("p", { class: "sidebar-empty" }, this.nothing(shelf)));
    if (found.more && !this.find.value)
      nodes.push(button(text.showMore, this.actions.grow, "quiet"));
    if (found.more && this.find.value)
      nodes.push(h("p", { class: "sidebar-empty" }, text.moreFound));
    if (shelf === "open") nodes.push(this.others(found));
    const place = this.list.scrollTop;
    this.list.replaceChildren(...nodes);
    this.list.scrollTop = place;
  }

  /** @param {string} shelf */
  nothing(shelf) {
    if (this.words()) return text.nothingFound(this.words());
    return shelf === "open"
      ? text.noSessions
      : shelf === "trash"
        ? text.emptyTrash
        : text.noneArchived;
  }

  /** @param {string} shelf */
  shelfHead(shelf) {
    return h(
      "div",
      { class: "shelf-head" },
      iconButton("left", text.backToSessions, () => this.actions.shelf("open")),
      h("strong", {}, shelf === "trash" ? text.trash : text.archived),
      shelf === "trash" && h("small", {}, text.trashDays),
    );
  }

  /** Draw the links to other shelves and to import. @param {any} found */
  others(found) {
    return h(
      "div",
      { class: "shelves" },
      found.archived > 0 &&
        button(
          text.count(text.archived, found.archived),
          () => this.actions.shelf("archived"),
          "small quiet",
          "archive",
        ),
      found.trash > 0 &&
        button(
          text.count(text.trash, found.trash),
          () => this.actions.shelf("trash"),
          "small quiet",
          "trash",
        ),
      button(text.import, () => this.picker.click(), "small quiet", "pull"),
    );
  }

  drawTags() {
    const names =
      this.tag && !this.tagNames.includes(this.tag) ? [this.tag, ...this.tagNames] : this.tagNames;
    const shown = this.allTags ? names : names.slice(0, TAGS);
    const choose = (/** @type {string} */ name) =>
      h(
        "button",
        {
          class: "tag",
          type: "button",
          "aria-pressed": String(name === this.tag),
          onclick: () => {
            this.tag = name;
            this.actions.search();
          },
        },
        name || text.allTags,
      );
    this.tags.hidden = names.length === 0;
    this.tags.toggleAttribute("data-all", this.allTags);
    this.tags.replaceChildren(
      choose(""),
      ...shown.map(choose),
      ...(shown.length < names.length
        ? [
            h(
              "button",
              {
                class: "tag",
                type: "button",
                "aria-label": text.moreTags(names.length - shown.length),
                onclick: () => {
                  this.allTags = true;
                  this.drawTags();
                },
              },
              `+${names.length - shown.length}`,
            ),
          ]
        : []),
    );
  }
}

/** @param {number} at */
function dayOf(at) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (at >= midnight) return text.today;
  if (at >= midnight - DAY) return text.yesterday;
  const near = at >= midnight - 6 * DAY;
  return new Intl.DateTimeFormat(
    "en-GB",
    near
      ? { weekday: "long", day: "numeric", month: "long" }
      : { day: "numeric", month: "long", year: "numeric" },
  ).format(at);
}
