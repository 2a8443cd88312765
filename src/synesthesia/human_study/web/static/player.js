// Loads a stimulus whole, so that the end of loading is known, and plays it as often as is allowed.

import { memory } from "./net.js";

const TRIES = 5;
const NOTES = "study-notes";
const EAR = '<svg class="ear" viewBox="0 0 64 64" fill="none" stroke="currentColor" stroke-width="4" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="M12 26v12h9l12 10V16L21 26z"/><path d="M42 24c4 4 4 12 0 16M49 17c8 8 8 22 0 30"/></svg>';

// What has happened at a step so far; kept over a reload.
export function notes(number) {
  const kept = memory.get(NOTES);
  const mine = kept?.number === number ? kept : { number, plays: 0, focus_lost: 0, load_failures: 0 };
  return {
    get: (name) => mine[name],
    add(name) {
      mine[name] += 1;
      memory.set(NOTES, mine);
    },
  };
}

const files = new Map(); // the last few, by name

async function fetched(name, failed) {
  if (files.has(name)) return files.get(name);
  for (let tries = 0; tries < TRIES; tries += 1) {
    try {
      const response = await fetch(`/stimuli/${name}`, { credentials: "same-origin" });
      if (!response.ok) throw new Error(String(response.status));
      const url = URL.createObjectURL(await response.blob());
      files.set(name, url);
      if (files.size > 8) {
        const [oldest, old] = files.entries().next().value;
        files.delete(oldest);
        URL.revokeObjectURL(old);
      }
      return url;
    } catch {
      failed();
      await new Promise((resolve) => setTimeout(resolve, 700 * (tries + 1)));
    }
  }
  throw new Error("not loaded");
}

// One element for sound and one for pictures, used for all clips: browsers that let an element play only once somebody
// has pressed a key or tapped for it (Safari on phones) then ask in the sound check, and not at every clip.
const elements = {};

function element(kind) {
  if (!elements[kind]) {
    elements[kind] = document.createElement(kind);
    elements[kind].playsInline = true;
    elements[kind].disablePictureInPicture = true;
    elements[kind].preload = "auto";
    elements[kind].setAttribute("aria-label", kind === "video" ? "Pictures" : "Sound");
  }
  return elements[kind];
}

// To be called while a key press or tap is handled: loading counts as being asked for.
export function unlock() {
  element("audio").load();
}

export class Player {
  // place: where the picture goes; sight: whether there is one; onTime(seconds, duration).
  constructor(place, sight, onTime = () => {}) {
    this.element = element(sight ? "video" : "audio");
    this.listening = new AbortController();
    this.element.removeAttribute("src"); // no picture of the clip before
    this.element.load();
    this.on("timeupdate", () => onTime(this.element.currentTime, this.element.duration || 10));
    this.on("ended", () => onTime(1, 1));
    place.replaceChildren();
    if (!sight) place.innerHTML = EAR;
    place.append(this.element);
  }

  // Listen until `stop`.
  on(name, act) {
    this.element.addEventListener(name, act, { signal: this.listening.signal });
  }

  // Fetch and decode the beginning; throws where that does not succeed in several tries.
  async load(name, failed) {
    const url = await fetched(name, failed);
    await new Promise((resolve, reject) => {
      const waiting = new AbortController();
      const end = (act) => () => { waiting.abort(); act(); };
      this.element.addEventListener("canplaythrough", end(resolve), { signal: waiting.signal });
      this.element.addEventListener("error", end(() => { failed(); reject(new Error("not playable")); }), { signal: waiting.signal });
      this.element.src = url;
      this.element.load();
    });
  }

  // False where the browser wants a key or click first.
  async play() {
    this.element.currentTime = 0;
    try {
      await this.element.play();
      return true;
    } catch (error) {
      if (error.name === "NotAllowedError") return false;
      if (this.listening.signal.aborted) return new Promise(() => {}); // answered meanwhile: nobody waits for this
      throw error;
    }
  }

  get playing() {
    return !this.element.paused && !this.element.ended;
  }

  // The end of this player; its element goes to the next one.
  stop() {
    this.listening.abort();
    this.element.pause();
  }
}
