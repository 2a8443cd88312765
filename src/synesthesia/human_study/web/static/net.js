// Requests that survive a lost connection: an answer stays in the browser's storage until the server confirms it. Its
// idempotency key lets the server recognize it when it is sent again.

const csrfToken = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
const PENDING_KEY = "human-study-pending-answer";
const sessionId = csrfToken.slice(0, 16); // several participants may use one browser
const RETRY_STATUSES = new Set([429, 500, 502, 503, 504]);
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

export class RequestRefused extends Error {
  constructor(status, code) {
    super(code);
    this.status = status;
  }
}

function showStatus(text) {
  const statusElement = document.getElementById("status");
  if (statusElement && statusElement.textContent !== text) statusElement.textContent = text;
}

// Storage may be disabled (private windows): a reload then loses only an answer that is not confirmed yet.
export const storage = {
  get(name) {
    try { return JSON.parse(localStorage.getItem(`${name}-${sessionId}`)); } catch { return null; }
  },
  set(name, value) {
    try { localStorage.setItem(`${name}-${sessionId}`, JSON.stringify(value)); } catch { /* see above */ }
  },
  remove(name) {
    try { localStorage.removeItem(`${name}-${sessionId}`); } catch { /* see above */ }
  },
};

// Retry until the server replies; throw RequestRefused with the server's error code for 401, 403, 409, 422 ...
export async function request(path, body) {
  for (let attempt = 0; ; attempt += 1) {
    const action = body === undefined ? "Loading" : "Saving";
    try {
      const options = body === undefined ? {} : {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRF-Token": csrfToken },
        body: JSON.stringify(body),
      };
      const response = await fetch(path, { ...options, cache: "no-store", credentials: "same-origin" });
      if (!RETRY_STATUSES.has(response.status)) {
        const data = await response.json().catch(() => ({}));
        showStatus("");
        if (!response.ok) throw new RequestRefused(response.status, data.error ?? "refused");
        return data;
      }
    } catch (error) {
      if (error instanceof RequestRefused) throw error;
    }
    const delay = Math.min(8, 0.5 * 2 ** attempt);
    showStatus(`${action} failed: no connection, or the server is busy. Trying again; nothing is lost.`);
    await Promise.race([sleep(delay), new Promise((resolve) => addEventListener("online", resolve, { once: true }))]);
  }
}

function newIdempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function sendAnswer(number, answer) {
  const body = { number, idempotency_key: newIdempotencyKey(), ...answer };
  storage.set(PENDING_KEY, body);
  return postAnswer(body);
}

// Send an answer that was not confirmed before a reload; return the session afterwards, or null if there is none.
export async function resendPendingAnswer() {
  const body = storage.get(PENDING_KEY);
  if (!body) return null;
  try {
    return await postAnswer(body);
  } catch (error) {
    if (error instanceof RequestRefused && error.status !== 401) return null;
    throw error;
  }
}

export function clearPendingAnswer() {
  storage.remove(PENDING_KEY);
}

async function postAnswer(body) {
  try {
    const reply = await request("/api/answer", body);
    clearPendingAnswer();
    return reply;
  } catch (error) {
    if (error instanceof RequestRefused) clearPendingAnswer();
    throw error;
  }
}
