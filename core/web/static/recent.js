// Recent sessions under the message box of a new session.

import { readDraft } from "./composer.js";
import { h } from "./dom.js";
import { timeOf } from "./session_row.js";
import { text } from "./text.js";

/** @import { SessionRow } from "./wire.d.ts" */

const MOST = 3;

export class Recent {
  /** @param {(path: string) => void} go */
  constructor(go) {
    this.go = go;
    this.element = h("nav", { class: "recent", "aria-label": text.recent, hidden: true });
  }

  /** Show answering ones, drafts and the newest. @param {SessionRow[]} sessions */
  show(sessions) {
    const weight = (/** @type {SessionRow} */ each) =>
      each.running ? 0 : readDraft(each.id) ? 1 : 2;
    const first = [...sessions].sort((one, other) => weight(one) - weight(other)).slice(0, MOST);
    this.element.replaceChildren(
      ...(first.length ? [h("p", { class: "recent-head" }, text.recent)] : []),
      ...first.map((session) => this.row(session)),
    );
  }

  /** @param {SessionRow} session */
  row(session) {
    const path = `/s/${encodeURIComponent(session.id)}`;
    const open = (/** @type {MouseEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.go(path);
    };
    const title = session.title || text.untitled;
    return h(
      "a",
      { href: path, onclick: open },
      h("span", { dir: "auto", title }, title),
      session.running
        ? h(
            "span",
            { class: "state", "data-state": "live" },
            h("span", { class: "spinner" }),
            text.answering,
          )
        : h("time", {}, note(session)),
    );
  }
}

/** @param {SessionRow} session */
function note(session) {
  const time = timeOf(session.updated * 1000);
  return readDraft(session.id) ? `${text.draft.toLowerCase()}, ${time}` : time;
}
