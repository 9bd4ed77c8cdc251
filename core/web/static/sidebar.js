// The list of sessions: by day, searched, with what is answering now and what has a draft.

import { h, icon, iconButton } from "./dom.js";
import { text } from "./text.js";

const DAY = 86_400_000;

export class Sidebar {
  /** @param {{ open: (id: string) => void, fresh: () => void, search: (words: string) => void, more: (id: string, title: string, at: HTMLElement) => void,
   *            go: (path: string) => void, theme: () => void }} actions */
  constructor(actions) {
    this.actions = actions;
    this.list = h("div", { class: "sidebar-list", tabindex: "0", role: "region", "aria-label": "Session list" });
    this.find = /** @type {HTMLInputElement} */ (h("input", {
      type: "search", placeholder: text.searchSessions, autocomplete: "off",
      oninput: () => actions.search(this.find.value.trim()),
    }));
    this.element = h(
      "nav",
      { class: "sidebar", id: "sidebar", "aria-label": "Sessions" },
      h("div", { class: "sidebar-top" },
        h("a", { class: "brand", href: "/", onclick: go(() => actions.fresh()) }, icon("mark"), h("span", {}, text.name)),
        iconButton("new", text.newSession, () => actions.fresh(), { title: `${text.newSession} (Alt+N)` }),
        iconButton("close", "Close the session list", () => actions.go(location.pathname), { class: "button icon-only quiet only-narrow", "data-close": "sidebar" })),
      h("div", { class: "sidebar-find" },
        h("label", { class: "field-search" }, icon("search"), h("span", { class: "sr" }, text.searchSessions), this.find, h("kbd", {}, "Ctrl K"))),
      this.list,
      h("div", { class: "sidebar-foot" },
        h("a", { class: "button quiet", href: "/providers", onclick: go(() => actions.go("/providers")) }, icon("sliders"), "Providers"),
        h("a", { class: "button quiet", href: "/numbers", onclick: go(() => actions.go("/numbers")) }, icon("chart"), "Numbers"),
        h("span", { class: "spacer" }),
        h("button", { class: "button icon-only quiet", type: "button", popovertarget: "keys", "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)" }, icon("keys")),
        h("button", { class: "button icon-only quiet", type: "button", "aria-label": "Switch between light and dark", title: "Light or dark", onclick: actions.theme },
          icon("sun", "when-dark"), icon("moon", "when-light"))),
    );
  }

  /** @param {any[]} sessions @param {string} current @param {(id: string) => boolean} hasDraft */
  show(sessions, current, hasDraft) {
    const nodes = [];
    let day = "";
    /** @type {HTMLElement|null} */ let group = null;
    for (const session of sessions) {
      const heading = dayOf(session.updated * 1000);
      if (heading !== day || !group) {
        day = heading;
        group = h("ul", {});
        nodes.push(h("h2", { class: "day" }, heading), group);
      }
      group.append(this.row(session, session.id === current, hasDraft(session.id)));
    }
    if (sessions.length === 0) {
      nodes.push(h("p", { class: "sidebar-empty" }, this.find.value ? text.nothingFound(this.find.value) : text.noSessions));
    }
    const place = this.list.scrollTop;
    this.list.replaceChildren(...nodes);
    this.list.scrollTop = place;
  }

  row(session, current, draft) {
    const title = session.title || text.untitled;
    const note = session.running
      ? h("span", { class: "session-live" }, h("span", { class: "sr" }, text.answeringNow))
      : draft
        ? h("span", { class: "session-note" }, icon("edit"), text.draft)
        : h("span", { class: "session-note" }, timeOf(session.updated * 1000));
    const link = h("a", {
      class: "session", href: `/s/${session.id}`, "aria-current": current ? "page" : undefined,
      onclick: go(() => this.actions.open(session.id)),
    }, h("span", { class: "session-title", dir: "auto", title }, title), note);
    const more = h("button", {
      class: "session-more", type: "button", "aria-label": `${text.more}: ${title}`,
      onclick: (event) => this.actions.more(session.id, title, /** @type {HTMLElement} */ (event.currentTarget)),
    }, icon("more"));
    return h("li", {}, link, more);
  }
}

/** A link that stays on the page unless a new tab is wanted. @param {() => void} act */
function go(act) {
  return (/** @type {MouseEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    act();
  };
}

/** @param {number} at */
function dayOf(at) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (at >= midnight) return text.today;
  if (at >= midnight - DAY) return text.yesterday;
  const near = at >= midnight - 6 * DAY;
  return new Intl.DateTimeFormat("en-GB", near
    ? { weekday: "long", day: "numeric", month: "long" }
    : { day: "numeric", month: "long", year: "numeric" }).format(at);
}

/** @param {number} at */
function timeOf(at) {
  return new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }).format(at);
}
