// Creates elements. Text enters the page only as text nodes.

/**
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] attributes; `on…` are listeners; undefined and
 *   false are skipped
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on"))
      element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** @param {Element} element @param {(Node|string|null|undefined|false)[]} children */
export function append(element, children) {
  for (const child of children) if (child || child === "") element.append(child);
}

const sprite = document.querySelector('meta[name="icons"]')?.getAttribute("content") ?? "";

/** @param {string} name @param {string} [extra] an additional class */
export function icon(name, extra = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", extra ? `icon ${extra}` : "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${sprite}#i-${name}`);
  svg.append(use);
  return svg;
}

/**
 * @param {string} name the icon
 * @param {string} label
 * @param {(event: Event) => void} act
 * @param {Record<string, unknown>} [more]
 */
export function iconButton(name, label, act, more = {}) {
  return h(
    "button",
    {
      class: "button icon-only quiet",
      type: "button",
      "aria-label": label,
      title: label,
      onclick: act,
      ...more,
    },
    icon(name),
  );
}

/**
 * @param {string} label
 * @param {(event: Event) => void} act
 * @param {string} [kind]
 * @param {string} [mark] an icon
 */
export function button(label, act, kind = "", mark = "") {
  return h(
    "button",
    { class: `button ${kind}`.trim(), type: "button", onclick: act },
    mark && icon(mark),
    label,
  );
}

/**
 * Copy text, and confirm it on the button for a moment.
 * @param {HTMLElement} place
 * @param {string} value
 * @param {string} said
 */
export async function copy(place, value, said) {
  await navigator.clipboard.writeText(value);
  const label = place.querySelector("span");
  const before = label ? label.textContent : place.title;
  if (label) label.textContent = said;
  else place.title = said;
  place.dataset.done = "";
  setTimeout(() => {
    if (label) label.textContent = before;
    else place.title = before ?? "";
    delete place.dataset.done;
  }, 1500);
}

/**
 * Make a link's handler that stays on the page unless a new tab is requested.
 * @param {() => void} act
 */
export function onPage(act) {
  return (/** @type {MouseEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    act();
  };
}
