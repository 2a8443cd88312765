// Requests that outlive a dropped network: an answer stays in the browser's storage until the server has confirmed it,
// under a key by which the server knows it again.

const token = document.querySelector('meta[name="study-token"]')?.content ?? "";
const PENDING = "study-pending";
const AGAIN = new Set([429, 500, 502, 503, 504]);
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

export class Gone extends Error {
  constructor(status, word) {
    super(word);
    this.status = status;
  }
}

function tell(text) {
  const place = document.getElementById("status");
  if (place && place.textContent !== text) place.textContent = text;
}

// Storage may be switched off (private windows): then a reload only costs what was not sent yet.
export const memory = {
  get(name) {
    try { return JSON.parse(localStorage.getItem(name)); } catch { return null; }
  },
  set(name, value) {
    try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* see above */ }
  },
  drop(name) {
    try { localStorage.removeItem(name); } catch { /* see above */ }
  },
};

// Ask until there is an answer; a refusal (401, 403, 409, 422 ...) is thrown as Gone with the server's word.
export async function request(path, body) {
  for (let tries = 0; ; tries += 1) {
    const message = body === undefined ? "Loading" : "Saving";
    try {
      const options = body === undefined ? {} : {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Study-Token": token },
        body: JSON.stringify(body),
      };
      const response = await fetch(path, { ...options, cache: "no-store", credentials: "same-origin" });
      if (!AGAIN.has(response.status)) {
        const data = await response.json().catch(() => ({}));
        tell("");
        if (!response.ok) throw new Gone(response.status, data.error ?? "refused");
        return data;
      }
    } catch (error) {
      if (error instanceof Gone) throw error;
    }
    const wait = Math.min(8, 0.5 * 2 ** tries);
    tell(`${message} failed: no connection, or the server is busy. Trying again; nothing is lost.`);
    await Promise.race([pause(wait), new Promise((resolve) => addEventListener("online", resolve, { once: true }))]);
  }
}

function key() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function send(number, answer) {
  const body = { number, key: key(), ...answer };
  memory.set(PENDING, body);
  return deliver(body);
}

// An answer from before a reload that was never confirmed: the state after it, or null where there is none.
export async function resume() {
  const body = memory.get(PENDING);
  if (!body) return null;
  try {
    return await deliver(body);
  } catch (error) {
    if (error instanceof Gone && error.status !== 401) return null;
    throw error;
  }
}

async function deliver(body) {
  try {
    const reply = await request("/api/answer", body);
    memory.drop(PENDING);
    return reply;
  } catch (error) {
    if (error instanceof Gone) memory.drop(PENDING);
    throw error;
  }
}
