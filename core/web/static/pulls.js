// Downloads of models: a field for the name, and the progress of each download.

import { ApiError, request } from "./api.js";
import { button, h, icon } from "./dom.js";
import { shortModel } from "./states.js";
import { text } from "./text.js";

/** @import { PullRow } from "./wire.d.ts" */

const BETWEEN = 700; // milliseconds between two looks at the downloads

/**
 * @typedef {{
 *   id: string,
 *   provider: string,
 *   example: string,
 *   isShown: () => boolean,
 *   onDone: () => Promise<void>
 * }} Place where it is shown; `provider` is the provider to pull from ("": taken from
 *   the name); `example` is a model name
 */

export class Pulls {
  /** @param {Place} place */
  constructor(place) {
    this.place = place;
    this.watching = false;
    this.begun = false;
    this.name = /** @type {HTMLInputElement} */ (
      h("input", {
        class: "input",
        id: place.id,
        type: "text",
        placeholder: text.pullHint(place.example || text.pullExample),
        autocomplete: "off",
      })
    );
    this.jobs = h("div", { class: "pull-jobs" });
    const label = h("label", { class: "sr", for: place.id }, text.modelToPull);
    const send = h("button", { class: "button", type: "submit" }, icon("pull"), text.pull);
    const start = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.pull();
    };
    this.element = h(
      "form",
      { class: place.provider ? "pull-inline" : "pull", "aria-label": text.pull, onsubmit: start },
      h("div", { class: "pull-row" }, label, this.name, send),
      this.jobs,
    );
  }

  async pull() {
    const name = this.name.value.trim();
    if (!name) return;
    const { provider } = this.place;
    const own = !provider || name.startsWith(`${provider}/`);
    if (!(await startPull(own ? name : `${provider}/${name}`, this.jobs))) return;
    this.name.value = "";
    await this.watch();
  }

  /** Show running downloads, also after a reload. */
  async watch() {
    this.begun = true; // also while an earlier look is under way, which may miss it
    if (this.watching) return;
    this.watching = true;
    for (let before = -1; this.place.isShown(); ) {
      this.begun = false;
      const pulls = await this.rows();
      this.jobs.replaceChildren(...pulls.map((job) => this.job(job)));
      const running = pulls.filter((job) => job.state === "running").length;
      if (before > running || (before < 0 && running < pulls.length)) await this.place.onDone();
      before = this.begun ? -1 : running;
      if (running === 0 && !this.begun) break;
      await new Promise((resolve) => setTimeout(resolve, BETWEEN));
    }
    this.watching = false;
  }

  /** @returns {Promise<PullRow[]>} */
  async rows() {
    const start = this.place.provider ? `${this.place.provider}/` : "";
    return (await pullRows()).filter((job) => job.model.startsWith(start));
  }

  /** Return the model's name, with its provider if there are several. @param {PullRow} job */
  nameOf(job) {
    const start = `${this.place.provider}/`;
    return job.model.startsWith(start) ? job.model.slice(start.length) : job.model;
  }

  /** @param {PullRow} job */
  job(job) {
    return jobRow(job, this.nameOf(job), () => this.watch());
  }
}

/** A button that downloads one model, and the progress of that download. */
export class PullOffer {
  /** @param {string} model with its provider @param {() => void} onDone */
  constructor(model, onDone) {
    this.model = model;
    this.onDone = onDone;
    this.button = button(text.pullModel(shortModel(model)), () => this.start(), "", "pull");
    this.progress = h("div", { class: "pull-offer", role: "status" });
    this.job().then((job) => (job?.state === "running" ? this.watch() : undefined));
  }

  async start() {
    if (await startPull(this.model, this.progress)) await this.watch();
  }

  async watch() {
    this.button.hidden = true;
    for (;;) {
      const job = await this.job();
      if (job) this.progress.replaceChildren(jobRow(job, shortModel(this.model), () => {}));
      if (job?.state !== "running") {
        if (job?.state === "done") this.onDone();
        else this.button.hidden = false;
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, BETWEEN));
      if (!this.progress.isConnected) return;
    }
  }

  /** @returns {Promise<PullRow | undefined>} */
  async job() {
    return (await pullRows()).find((job) => job.model === this.model);
  }
}

/**
 * Start a download; a refusal is shown in `place`.
 * @param {string} model with its provider @param {HTMLElement} place
 * @returns {Promise<boolean>} whether it started
 */
async function startPull(model, place) {
  try {
    await request("POST", "/api/pulls", { model });
    return true;
  } catch (problem) {
    const lines = problem instanceof ApiError ? [problem.message, problem.hint] : [problem];
    place.replaceChildren(h("p", { class: "provider-why" }, lines.join(" ")));
    return false;
  }
}

/**
 * All downloads; none while the server does not answer.
 * @returns {Promise<PullRow[]>}
 */
export async function pullRows() {
  const { pulls } = await request("GET", "/api/pulls").catch(() => ({ pulls: [] }));
  return pulls;
}

/**
 * One download: its name, its progress, and a button that stops it.
 * @param {PullRow} job @param {string} name @param {() => void} stopped
 */
function jobRow(job, name, stopped) {
  const address = `/api/pulls/${encodeURIComponent(job.model)}`;
  const stop = () => request("DELETE", address).then(stopped);
  const runs = job.state === "running";
  return h(
    "div",
    { class: "pull-job" },
    h("span", { class: "pull-name", title: job.model }, name),
    h("span", { class: "pull-figure" }, job.said),
    runs &&
      h("progress", {
        max: "100",
        value: job.percent ?? undefined,
        "aria-label": text.pulling(job.model),
      }),
    runs && h("button", { class: "link-button", type: "button", onclick: stop }, text.stopPull),
  );
}
