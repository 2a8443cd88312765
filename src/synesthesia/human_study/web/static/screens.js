// One function a kind of step: it shows the screen and promises what the participant answers.

import { watch } from "./attention.js";
import { Player, notes, unlock } from "./player.js";

const screen = document.getElementById("screen");
const LETTERS = "ABCDEFGHIJ";
const PARTS = {
  audio: ["sound alone", "You will hear sounds. There is nothing to see."],
  silent_video: ["silent pictures", "You will see pictures without sound. Choose what would make the sound that belongs to them."],
  sounded_video: ["sound and pictures", "You will hear and see each clip."],
};

let keys = () => false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (document.querySelector("dialog[open]") || event.target.matches("textarea, input")) return;
  if (event.target.matches("button, a") && (event.key === " " || event.key === "Enter")) return; // it is pressed itself
  if (keys(event.key.length === 1 ? event.key.toUpperCase() : event.key)) event.preventDefault();
});

export function show(name, fill = () => {}) {
  keys = () => false;
  screen.replaceChildren(document.getElementById(name).content.cloneNode(true));
  const find = (what) => screen.querySelector(`[data-${what}]`);
  fill(find);
  window.scrollTo(0, 0);
  const heading = screen.querySelector("h1"); // a new one each time, so that a screen reader reads it
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  return find;
}

function gone(find) {
  return new Promise((resolve) => {
    const button = find("go");
    button.addEventListener("click", () => resolve({}), { once: true });
    keys = (key) => {
      if (key !== "Enter") return false;
      resolve({});
      return true;
    };
  });
}

function expect() {
  return gone(show("expect"));
}

function block(step) {
  return gone(show("block", (find) => {
    const [name, what] = PARTS[step.condition];
    find("title").textContent = `Part ${step.block + 1} of ${step.blocks}: ${name}`;
    find("what").textContent = `${what} There are ${step.in_block} clips in this part.`;
    find("break").hidden = step.block === 0;
  }));
}

function comments() {
  const find = show("comments");
  return new Promise((resolve) => {
    find("go").addEventListener("click", () => resolve({ comment: document.getElementById("comment").value }), { once: true });
  });
}

async function sound(step, again) {
  const find = show("sound");
  find("note").hidden = !again;
  const player = new Player(find("media"), true);
  const ready = player.load(step.stimulus, () => {});
  ready.catch(() => {
    find("note").hidden = false;
    find("note").textContent = "This browser cannot play the sound of this study, or the connection failed. Reload the page, or open the link in another browser.";
  });
  return new Promise((resolve) => {
    const play = async () => {
      if (player.playing) return;
      unlock();
      await ready;
      await player.play();
      find("count").disabled = false;
    };
    const choose = (choice) => { player.stop(); resolve({ choice }); };
    find("play").addEventListener("click", play);
    for (const button of screen.querySelectorAll("[data-choice]")) button.addEventListener("click", () => choose(Number(button.dataset.choice)));
    keys = (key) => {
      if (key === " ") { play(); return true; }
      if (key >= "2" && key <= "6" && !find("count").disabled) { choose(Number(key)); return true; }
      return false;
    };
  });
}

async function headphones(step) {
  const find = show("headphones");
  find("again").hidden = !step.again;
  const picks = [];
  for (const [index, name] of step.stimuli.entries()) {
    find("number").textContent = `${index + 1} of ${step.stimuli.length}`;
    picks.push(await burst(find, name));
  }
  return { picks };
}

function burst(find, name) {
  const boxes = [...screen.querySelectorAll(".bursts li")];
  const place = document.createElement("div");
  const player = new Player(place, false, (time) => boxes.forEach((box, n) => box.classList.toggle("on", player.playing && Math.floor(time / 1.5) === n && time % 1.5 < 1)));
  const ready = player.load(name, () => {});
  find("pick").disabled = true;
  return new Promise((resolve) => {
    const play = async () => {
      if (player.playing) return;
      await ready;
      await player.play();
      find("pick").disabled = false;
    };
    const choose = (pick) => {
      player.stop();
      boxes.forEach((box) => box.classList.remove("on"));
      resolve(pick);
    };
    find("play").onclick = play;
    for (const button of screen.querySelectorAll("[data-choice]")) button.onclick = () => choose(Number(button.dataset.choice));
    keys = (key) => {
      if (key === " ") { play(); return true; }
      if ("123".includes(key) && !find("pick").disabled) { choose(Number(key) - 1); return true; }
      return false;
    };
  });
}

function options(find, step, choose) {
  find("head").textContent = step.question.head;
  find("tail").textContent = step.question.tail;
  find("options").replaceChildren(...step.question.options.map((line, index) => {
    const button = document.createElement("button");
    const letter = document.createElement("span");
    letter.className = "letter";
    letter.textContent = line.slice(0, 2);
    button.type = "button";
    button.disabled = true;
    button.setAttribute("aria-keyshortcuts", LETTERS[index]);
    button.append(letter, line.slice(3));
    button.addEventListener("click", () => choose(index));
    return button;
  }));
}

const buttons = () => [...screen.querySelectorAll("[data-options] button")];

function check(step) {
  return new Promise((resolve) => {
    const began = performance.now();
    const choose = (choice) => resolve({ choice, seconds: (performance.now() - began) / 1000 });
    const find = show("question", (inside) => options(inside, step, choose));
    const text = document.createElement("p");
    text.className = "instruct";
    text.setAttribute("role", "alert");
    text.textContent = `This is a check of attention; there is no clip. Please choose “${step.instructed}”.`;
    find("media").replaceChildren(text);
    find("time").classList.add("unseen");
    find("replay").classList.add("unseen");
    for (const button of buttons()) button.disabled = false;
    keys = letters(choose);
  });
}

function letters(choose, space = () => false) {
  return (key) => {
    if (key === " ") return space();
    const index = LETTERS.indexOf(key);
    const button = key.length === 1 && index >= 0 ? buttons()[index] : undefined;
    if (!button || button.disabled) return false;
    choose(index);
    return true;
  };
}

async function question(step) {
  const kept = notes(step.number);
  let answer;
  const answered = new Promise((resolve) => { answer = resolve; });
  let began = null;
  const choose = (choice) => {
    buttons()[choice].classList.add("chosen");
    for (const button of buttons()) button.disabled = true;
    answer({ choice, seconds: (performance.now() - began) / 1000 });
  };
  const find = show("question", (inside) => options(inside, step, choose));
  const time = find("time");
  const player = new Player(find("media"), step.condition !== "audio", (now, whole) => { time.max = whole; time.value = now; });
  const unwatch = watch(() => kept.add("focus_lost"));

  const allowed = () => step.replays + 1 - kept.get("plays");
  const state = () => {
    const left = allowed();
    find("replay").disabled = left <= 0 || player.playing;
    find("left").textContent = kept.get("plays") === 0 ? "" : left > 0 ? `${left} more ${left === 1 ? "time" : "times"}` : "no more replays";
  };
  const play = async () => {
    if (player.playing || allowed() <= 0) return;
    find("replay").disabled = true; // until the clip has ended
    if (!(await player.play())) { // the browser wants a key first, as after a reload
      state();
      find("replay").firstChild.textContent = "Play ";
      return;
    }
    find("replay").firstChild.textContent = "Play again ";
    kept.add("plays");
    open();
    state();
  };
  const open = () => {
    began ??= performance.now(); // loading has ended, and the clip has begun in the same moment
    for (const button of buttons()) button.disabled = false;
  };
  player.on("ended", state);
  find("replay").addEventListener("click", play);
  keys = letters(choose, () => { play(); return true; });

  load();
  async function load() {
    find("left").textContent = "Loading the clip …";
    try {
      await player.load(step.stimulus, () => kept.add("load_failures"));
      if (allowed() > 0) return await play();
      state();
      open(); // played as often as is allowed before a reload
    } catch {
      trouble();
    }
  }
  function trouble() {
    const note = find("trouble");
    find("left").textContent = "";
    note.hidden = false;
    note.textContent = "This clip could not be loaded. ";
    const retry = document.createElement("button");
    retry.type = "button";
    retry.textContent = "Try again";
    retry.addEventListener("click", () => {
      note.hidden = true;
      find("head").focus({ preventScroll: true });
      load();
    });
    const skip = document.createElement("button");
    skip.type = "button";
    skip.textContent = "Go on without it";
    skip.addEventListener("click", () => answer({ unplayable: true }));
    note.append(retry, " ", skip);
    retry.focus();
  }

  const given = await answered;
  player.stop();
  unwatch();
  keys = () => false;
  const replays = Math.max(0, Math.min(step.replays, kept.get("plays") - 1));
  return { ...given, replays, focus_lost: kept.get("focus_lost"), load_failures: kept.get("load_failures") };
}

// After practice: what was right.
export function feedback(step, choice, right) {
  const place = (what) => screen.querySelector(`[data-${what}]`);
  buttons()[right]?.classList.add("right");
  const said = place("said");
  place("feedback").hidden = false;
  said.classList.toggle("good", choice === right);
  said.textContent = choice === right ? "Right." : `It was ${step.question.options[right]}. In the study itself you will not be told.`;
  place("go").focus();
  return gone(place);
}

export const screens = { expect, sound, headphones, practice: question, block, trial: question, check, comments };
