// The switcher under a message that has several versions.

import { h, iconButton } from "./dom.js";
import { text } from "./text.js";

/** @import { Versions } from "./wire.d.ts" */

/**
 * Show or change the switcher of a message.
 * @param {HTMLElement} message
 * @param {Versions|undefined} versions
 * @param {(place: number, version: string) => void} onShow
 */
export function showVersions(message, versions, onShow) {
  message.querySelector(".switcher")?.remove();
  if (!versions || versions.ids.length < 2) return;
  const turn = (
    /** @type {number} */ by,
    /** @type {string} */ mark,
    /** @type {string} */ label,
  ) => {
    const other = versions.ids[versions.at + by];
    const show = () => onShow(Number(message.dataset.place), other);
    return iconButton(mark, label, show, { "data-turn": by, disabled: other === undefined });
  };
  message
    .querySelector(".meta")
    ?.prepend(
      h(
        "span",
        { class: "switcher", role: "group", "aria-label": text.versions },
        turn(-1, "left", text.versionBefore),
        h(
          "span",
          { class: "switcher-count" },
          text.versionOf(versions.at + 1, versions.ids.length),
        ),
        turn(1, "right", text.versionAfter),
      ),
    );
}

/**
 * Switch to the previous or next version of the focused message, or of the last one that has
 * several.
 * @param {HTMLElement} thread
 * @param {number} by
 */
export function turnVersion(thread, by) {
  const all = /** @type {HTMLElement[]} */ ([...thread.querySelectorAll(".switcher")]);
  const focused = document.activeElement?.closest(".message")?.querySelector(".switcher");
  const chosen = focused ?? all[all.length - 1];
  /** @type {HTMLElement|null|undefined} */ (chosen?.querySelector(`[data-turn="${by}"]`))?.click();
}
