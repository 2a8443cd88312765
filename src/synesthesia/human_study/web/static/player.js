// Loads a stimulus completely, so that the end of loading is known, and plays it.

import { storage } from "./net.js";

const MAX_ATTEMPTS = 5;
const MAX_CACHED_FILES = 8;
const PLAYBACK_KEY = "human-study-playback";
const SPEAKER_ICON = '<svg class="speaker" viewBox="0 0 64 64" fill="none" stroke="currentColor" stroke-width="4" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="M12 26v12h9l12 10V16L21 26z"/><path d="M42 24c4 4 4 12 0 16M49 17c8 8 8 22 0 30"/></svg>';

// Counts of a step's events; they survive a reload.
export function playbackRecord(number) {
  const stored = storage.get(PLAYBACK_KEY);
  const record = stored?.number === number ? stored : { number, plays: 0, focus_lost: 0, load_failures: 0 };
  return {
    get: (name) => record[name],
    add(name) {
      record[name] += 1;
      storage.set(PLAYBACK_KEY, record);
    },
  };
}

const objectUrls = new Map(); // of the last files, by name

async function fetchStimulus(name, onFailure) {
  if (objectUrls.has(name)) return objectUrls.get(name);
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    try {
      const response = await fetch(`/stimuli/${name}`, { credentials: "same-origin" });
      if (!response.ok) throw new Error(String(response.status));
      const url = URL.createObjectURL(await response.blob());
      objectUrls.set(name, url);
      if (objectUrls.size > MAX_CACHED_FILES) {
        const [oldestName, oldestUrl] = objectUrls.entries().next().value;
        objectUrls.delete(oldestName);
        URL.revokeObjectURL(oldestUrl);
      }
      return url;
    } catch {
      onFailure();
      await new Promise((resolve) => setTimeout(resolve, 700 * (attempt + 1)));
    }
  }
  throw new Error("not loaded");
}

// One audio and one video element play all clips: browsers that let an element play only after a key press or tap on it
// (Safari on phones) then require it in the sound check, not at every clip.
const mediaElements = {};

function mediaElement(kind) {
  if (!mediaElements[kind]) {
    const element = document.createElement(kind);
    element.playsInline = true;
    element.disablePictureInPicture = true;
    element.preload = "auto";
    element.setAttribute("aria-label", kind === "video" ? "Pictures" : "Sound");
    mediaElements[kind] = element;
  }
  return mediaElements[kind];
}

// Call while handling a key press or tap: loading then counts as requested by the user.
export function unlockAudio() {
  mediaElement("audio").load();
}

export class Player {
  // container: parent of the picture; hasVideo: whether there is a picture; onTime(seconds, duration).
  constructor(container, hasVideo, onTime = () => {}) {
    this.element = mediaElement(hasVideo ? "video" : "audio");
    this.controller = new AbortController();
    this.element.removeAttribute("src"); // removes the picture of the previous clip
    this.element.load();
    this.on("timeupdate", () => onTime(this.element.currentTime, this.element.duration || 10));
    this.on("ended", () => onTime(1, 1));
    container.replaceChildren();
    if (!hasVideo) container.innerHTML = SPEAKER_ICON;
    container.append(this.element);
  }

  // Handle an event of the element until `stop`.
  on(name, handler) {
    this.element.addEventListener(name, handler, { signal: this.controller.signal });
  }

  // Fetch the file and decode its beginning; throws after several failed attempts.
  async load(name, onFailure) {
    const url = await fetchStimulus(name, onFailure);
    await new Promise((resolve, reject) => {
      const loadController = new AbortController();
      const { signal } = loadController;
      const settle = (handler) => () => { loadController.abort(); handler(); };
      this.element.addEventListener("canplaythrough", settle(resolve), { signal });
      this.element.addEventListener("error", settle(() => { onFailure(); reject(new Error("not playable")); }), { signal });
      this.element.src = url;
      this.element.load();
    });
  }

  // Returns false if the browser requires a key press or click first.
  async play() {
    this.element.currentTime = 0;
    try {
      await this.element.play();
      return true;
    } catch (error) {
      if (error.name === "NotAllowedError") return false;
      if (this.controller.signal.aborted) return new Promise(() => {}); // already answered: nobody waits for this
      throw error;
    }
  }

  get playing() {
    return !this.element.paused && !this.element.ended;
  }

  // Stop this player; the next one uses the same element.
  stop() {
    this.controller.abort();
    this.element.pause();
  }
}
