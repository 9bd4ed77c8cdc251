// Talks to the server: requests with JSON, and the stream of a session's events.

export class ApiError extends Error {
  /** @param {number} status @param {{kind?: string, message?: string, hint?: string}} error */
  constructor(status, error) {
    super(error.message || `The server answered ${status}.`);
    this.status = status;
    this.hint = error.hint || "";
    this.kind = error.kind || "";
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export async function request(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { "content-type": "application/json", "x-stream-chat": "page" },
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  const written = await answer.text();
  /** @type {any} */ let found = {};
  try {
    found = written ? JSON.parse(written) : {};
  } catch {
    found = { error: { message: written.trim().slice(0, 300) } };
  }
  if (!answer.ok) throw new ApiError(answer.status, found.error ?? {});
  return found;
}

/**
 * Send a file unchanged; return the server's response.
 * @param {string} path
 * @param {File} file
 * @returns {Promise<any>}
 */
export async function sendFile(path, file) {
  const answer = await fetch(`${path}?name=${encodeURIComponent(file.name)}`, {
    method: "POST",
    headers: { "content-type": "application/octet-stream", "x-stream-chat": "page" },
    body: file,
  });
  const said = await answer.text();
  const found = said.startsWith("{")
    ? JSON.parse(said)
    : { error: { message: said.trim().slice(0, 300) } };
  if (!answer.ok) throw new ApiError(answer.status, found.error ?? {});
  return found;
}

/**
 * Upload an attachment; return its name for a message.
 * @param {File} file
 * @returns {Promise<string>}
 */
export async function upload(file) {
  return (await sendFile("/api/files", file)).file;
}

/**
 * Repeat a request until the server responds. A message has a key, so that repeating it has no
 * effect.
 * @param {string} method
 * @param {string} path
 * @param {unknown} body
 * @param {(lost: boolean) => void} onLost
 */
export async function insist(method, path, body, onLost) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      const found = await request(method, path, body);
      onLost(false);
      return found;
    } catch (problem) {
      // not from our server
      if (problem instanceof ApiError && (problem.kind || problem.status < 502)) throw problem;
      onLost(true);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/**
 * Listen to a session's events after a place. Reconnects automatically; the server sends missed
 * events.
 * @param {string} session
 * @param {string} after
 * @param {{events: (events: any[]) => void, reset: () => void, state: (connected: boolean) =>
 *   void}} handlers
 * @returns {() => void} a function that stops listening
 */
export function listen(session, after, handlers) {
  let place = after;
  let ended = false;
  let wait = 500;
  /** @type {EventSource|undefined} */
  let source;
  const open = () => {
    if (ended) return;
    source = new EventSource(
      `/api/sessions/${encodeURIComponent(session)}/events?after=${encodeURIComponent(place)}`,
    );
    source.onopen = () => {
      wait = 500;
      handlers.state(true);
    };
    source.onmessage = (message) => {
      place = message.lastEventId || place;
      handlers.events(JSON.parse(message.data));
    };
    source.addEventListener("reset", () => {
      source?.close();
      if (!ended) handlers.reset();
    });
    source.onerror = () => {
      source?.close();
      if (ended) return;
      handlers.state(false);
      setTimeout(open, wait);
      wait = Math.min(wait * 2, 5000);
    };
  };
  open();
  return () => {
    ended = true;
    source?.close();
  };
}
