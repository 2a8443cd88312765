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

export class Player {
  // place: where the picture goes; sight: whether there is one; onTime(seconds, duration).
  constructor(place, sight, onTime = () => {}) {
    this.element = document.createElement(sight ? "video" : "audio");
    this.element.playsInline = true;
    this.element.disablePictureInPicture = true;
    this.element.preload = "auto";
    this.element.setAttribute("aria-label", sight ? "Pictures" : "Sound");
    this.element.addEventListener("timeupdate", () => onTime(this.element.currentTime, this.element.duration || 10));
    this.element.addEventListener("ended", () => onTime(1, 1));
    place.replaceChildren();
    if (sight) place.append(this.element);
    else {
      place.innerHTML = EAR;
      place.append(this.element);
    }
  }

  // Fetch and decode the beginning; throws where that does not succeed in several tries.
  async load(name, failed) {
    const url = await fetched(name, failed);
    await new Promise((resolve, reject) => {
      this.element.addEventListener("canplaythrough", resolve, { once: true });
      this.element.addEventListener("error", () => { failed(); reject(new Error("not playable")); }, { once: true });
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
      throw error;
    }
  }

  get playing() {
    return !this.element.paused && !this.element.ended;
  }

  ended() {
    return new Promise((resolve) => this.element.addEventListener("ended", resolve, { once: true }));
  }

  stop() {
    this.element.pause();
  }
}
