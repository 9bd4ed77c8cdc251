// The state of a provider: a word with an icon, and the time of the check; the short name of a model.

import { h, icon } from "./dom.js";
import { text } from "./text.js";

/** @import { ProviderRow } from "./wire.d.ts" */

/** The tone, the icon and the word of each state. @type {Record<string, [string, string, string]>} */
const STATES = {
  ok: ["ok", "ok", text.connected],
  no_key: ["warn", "key", text.noKey],
  no_address: ["warn", "plug", text.noAddress],
  not_ready: ["warn", "pause", text.notReady],
  rate_limit: ["warn", "clock", text.rateLimit],
  key_refused: ["bad", "fail", text.keyRefused],
  unreachable: ["bad", "fail", text.unreachable],
  failed: ["bad", "fail", text.answersWrong],
  testing: ["", "clock", text.testing],
  unknown: ["", "plug", text.notTested],
};

/** @param {ProviderRow} provider @param {Record<string, unknown>} [more] further attributes */
export function stateBadge(provider, more = {}) {
  const [tone, mark, word] = STATES[provider.state] ?? ["", "plug", provider.state];
  return h(
    "span",
    { class: "state", "data-state": tone, title: provider.said || undefined, ...more },
    icon(mark),
    word,
  );
}

/** The last check, as in “2 min ago, 4 ms”, or "". @param {ProviderRow} provider */
export function lookedAt(provider) {
  if (provider.checked === null || provider.state === "testing") return "";
  const ago = text.ago(provider.checked);
  return provider.ms === null ? ago : `${ago}, ${text.milliseconds(provider.ms)}`;
}

/** Whether a provider can be used with its settings. @param {ProviderRow} provider */
export function canAsk(provider) {
  return provider.state !== "no_key" && provider.state !== "no_address";
}

/** A model's name without its provider. @param {string} model */
export function shortModel(model) {
  return model.slice(model.indexOf("/") + 1);
}
