// A row of the session list: a session with its note, or with the snippet that a search found.

import { h, icon, onPage } from "./dom.js";
import { shortModel } from "./states.js";
import { text } from "./text.js";

/** @import { SessionRow } from "./wire.d.ts" */

const COMPARED = "↳ "; // begins the title of one of two replies that were compared
const BEFORE = 16; // characters of a snippet before the words that were searched for

/**
 * Make the list item of a session: a link, and a button that opens its menu.
 * @param {SessionRow} session
 * @param {{ current: boolean, draft: boolean }} marks
 * @param {{
 *   open: (id: string, message?: string) => void,
 *   more: (session: SessionRow, at: HTMLElement) => void
 * }} actions
 */
export function sessionRow(session, { current, draft }, actions) {
  const title = session.title || text.untitled;
  const link = h(
    "a",
    {
      class: session.snippet === undefined ? "session" : "session found",
      href: `/s/${session.id}${session.message ? `#${session.message}` : ""}`,
      "aria-current": current ? "page" : undefined,
      onclick: onPage(() => actions.open(session.id, session.message)),
    },
    h("span", { class: "session-title", dir: "auto", title }, title),
    session.snippet === undefined
      ? note(session, draft)
      : h(
          "span",
          { class: "session-snippet", dir: "auto" },
          ...marked(session.snippet, session.marks),
        ),
  );
  const more = h(
    "button",
    {
      class: "session-more",
      type: "button",
      "aria-label": `${text.more}: ${title}`,
      "aria-haspopup": "menu",
      onclick: (/** @type {Event} */ event) =>
        actions.more(session, /** @type {HTMLElement} */ (event.currentTarget)),
    },
    icon("more"),
  );
  return h("li", {}, link, more);
}

/** @param {SessionRow} session @param {boolean} draft */
function note(session, draft) {
  if (session.running)
    return h("span", { class: "session-live" }, h("span", { class: "sr" }, text.answeringNow));
  if (draft) return h("span", { class: "session-note" }, icon("edit"), text.draft);
  const said = session.title.startsWith(COMPARED)
    ? shortModel(session.model) // two have the same title
    : (session.tags[0] ?? timeOf(session.updated * 1000));
  return h("span", { class: "session-note" }, said);
}

/**
 * Make a line with the matching parts marked.
 * @param {string} line
 * @param {[number, number][]} marks
 */
function marked(line, marks) {
  const characters = [...line];
  let at = Math.max(0, (marks[0]?.[0] ?? 0) - BEFORE);
  /** @type {(Node|string)[]} */ const nodes = at > 0 ? ["… "] : [];
  for (const [start, end] of marks) {
    if (start < at) continue;
    nodes.push(
      characters.slice(at, start).join(""),
      h("mark", {}, characters.slice(start, end).join("")),
    );
    at = end;
  }
  return [...nodes, characters.slice(at).join("")];
}

/** @param {number} at */
export function timeOf(at) {
  return new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }).format(at);
}
