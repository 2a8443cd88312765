// One function per kind of step: it shows the screen and returns a promise of the participant's answer.

import { watchFocus } from "./attention.js";
import { Player, playbackRecord, unlockAudio } from "./player.js";

const screen = document.getElementById("screen");
const LETTERS = "ABCDEFGHIJ";
const CONDITION_TEXTS = {
  audio: ["sound alone", "You will hear sounds. There is nothing to see."],
  silent_video: ["silent pictures", "You will see pictures without sound. Choose what would make the sound that belongs to them."],
  sounded_video: ["sound and pictures", "You will hear and see each clip."],
};

const find = (name) => screen.querySelector(`[data-${name}]`);
const choiceButtons = () => [...screen.querySelectorAll("[data-choice]")];
const optionButtons = () => [...screen.querySelectorAll("[data-options] button")];

let handleKey = () => false; // returns whether the screen uses the key
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (document.querySelector("dialog[open]") || event.target.matches("textarea, input")) return;
  if (event.target.matches("button, a") && (event.key === " " || event.key === "Enter")) return; // presses the button
  if (handleKey(event.key.length === 1 ? event.key.toUpperCase() : event.key)) event.preventDefault();
});

export function showScreen(name, fill = () => {}) {
  handleKey = () => false;
  screen.replaceChildren(document.getElementById(name).content.cloneNode(true));
  fill(find);
  window.scrollTo(0, 0);
  const heading = screen.querySelector("h1"); // a new element each time, so that a screen reader reads it
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

function waitForContinue() {
  return new Promise((resolve) => {
    find("continue").addEventListener("click", () => resolve({}), { once: true });
    handleKey = (key) => {
      if (key !== "Enter") return false;
      resolve({});
      return true;
    };
  });
}

function instructions() {
  showScreen("instructions");
  return waitForContinue();
}

function blockIntro(step) {
  const [name, description] = CONDITION_TEXTS[step.condition];
  showScreen("block_intro", () => {
    find("title").textContent = `Part ${step.block + 1} of ${step.n_blocks}: ${name}`;
    find("description").textContent = `${description} There are ${step.n_block_trials} clips in this part.`;
    find("rest").hidden = step.block === 0;
  });
  return waitForContinue();
}

function comments() {
  showScreen("comments");
  return new Promise((resolve) => {
    const submit = () => resolve({ comment: document.getElementById("comment").value });
    find("continue").addEventListener("click", submit, { once: true });
  });
}

function soundCheck(step, isRetry) {
  showScreen("sound_check");
  const wrongCount = find("wrong-count");
  wrongCount.hidden = !isRetry;
  const player = new Player(find("media"), true);
  const loaded = player.load(step.stimulus, () => {});
  loaded.catch(() => {
    wrongCount.hidden = false;
    wrongCount.textContent = "This browser cannot play the sound of this study, or the connection failed. Reload the page, or open the link in another browser.";
  });
  return new Promise((resolve) => {
    const play = async () => {
      if (player.playing) return;
      unlockAudio();
      await loaded;
      await player.play();
      find("count").disabled = false;
    };
    const choose = (choice) => { player.stop(); resolve({ choice }); };
    find("play").addEventListener("click", play);
    for (const button of choiceButtons()) button.addEventListener("click", () => choose(Number(button.dataset.choice)));
    handleKey = (key) => {
      if (key === " ") { play(); return true; }
      if (key >= "2" && key <= "6" && !find("count").disabled) { choose(Number(key)); return true; }
      return false;
    };
  });
}

async function headphoneCheck(step) {
  showScreen("headphone_check");
  find("retry-note").hidden = !step.is_retry;
  const picks = [];
  for (const [index, name] of step.stimuli.entries()) {
    find("number").textContent = `${index + 1} of ${step.stimuli.length}`;
    picks.push(await askInterval(name));
  }
  return { picks };
}

function askInterval(name) {
  const intervalMarkers = [...screen.querySelectorAll(".bursts li")];
  const isOn = (time, n) => player.playing && Math.floor(time / 1.5) === n && time % 1.5 < 1; // 1 s of each 1.5 s
  const player = new Player(document.createElement("div"), false, (time) => {
    intervalMarkers.forEach((marker, n) => marker.classList.toggle("on", isOn(time, n)));
  });
  const loaded = player.load(name, () => {});
  find("pick").disabled = true;
  return new Promise((resolve) => {
    const play = async () => {
      if (player.playing) return;
      await loaded;
      await player.play();
      find("pick").disabled = false;
    };
    const choose = (pick) => {
      player.stop();
      intervalMarkers.forEach((marker) => marker.classList.remove("on"));
      resolve(pick);
    };
    find("play").onclick = play;
    for (const button of choiceButtons()) button.onclick = () => choose(Number(button.dataset.choice));
    handleKey = (key) => {
      if (key === " ") { play(); return true; }
      if ("123".includes(key) && !find("pick").disabled) { choose(Number(key) - 1); return true; }
      return false;
    };
  });
}

function fillOptions(step, choose) {
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

function letterKeyHandler(onChoice, onSpace = () => false) {
  return (key) => {
    if (key === " ") return onSpace();
    const index = LETTERS.indexOf(key);
    const button = key.length === 1 && index >= 0 ? optionButtons()[index] : undefined;
    if (!button || button.disabled) return false;
    onChoice(index);
    return true;
  };
}

function attentionCheck(step) {
  return new Promise((resolve) => {
    const startedAt = performance.now();
    const choose = (choice) => resolve({ choice, seconds: (performance.now() - startedAt) / 1000 });
    showScreen("question", () => fillOptions(step, choose));
    const text = document.createElement("p");
    text.className = "instruction";
    text.setAttribute("role", "alert");
    text.textContent = `This is an attention check; there is no clip. Please choose “${step.required_option}”.`;
    find("media").replaceChildren(text);
    find("time").classList.add("invisible");
    find("replay").classList.add("invisible");
    for (const button of optionButtons()) button.disabled = false;
    handleKey = letterKeyHandler(choose);
  });
}

async function askQuestion(step) {
  const record = playbackRecord(step.number);
  let answer;
  const answered = new Promise((resolve) => { answer = resolve; });
  let startedAt = null;
  const choose = (choice) => {
    optionButtons()[choice].classList.add("selected");
    for (const button of optionButtons()) button.disabled = true;
    answer({ choice, seconds: (performance.now() - startedAt) / 1000 });
  };
  showScreen("question", () => fillOptions(step, choose));
  const progress = find("time");
  const player = new Player(find("media"), step.condition !== "audio", (time, duration) => {
    progress.max = duration;
    progress.value = time;
  });
  const stopWatching = watchFocus(() => record.add("focus_lost"));

  const remainingPlays = () => step.max_replays + 1 - record.get("plays");
  const updateReplayButton = () => {
    const n = remainingPlays();
    const text = n > 0 ? `${n} more ${n === 1 ? "time" : "times"}` : "no more replays";
    find("replay").disabled = n <= 0 || player.playing;
    find("replays-left").textContent = record.get("plays") === 0 ? "" : text;
  };
  const enableOptions = () => {
    startedAt ??= performance.now(); // loading has ended and the clip starts at the same moment
    for (const button of optionButtons()) button.disabled = false;
  };
  const play = async () => {
    if (player.playing || remainingPlays() <= 0) return;
    find("replay").disabled = true; // until the clip has ended
    if (!(await player.play())) { // the browser requires a key press first, for example after a reload
      updateReplayButton();
      find("replay").firstChild.textContent = "Play ";
      return;
    }
    find("replay").firstChild.textContent = "Play again ";
    record.add("plays");
    enableOptions();
    updateReplayButton();
  };
  const load = async () => {
    find("replays-left").textContent = "Loading the clip …";
    try {
      await player.load(step.stimulus, () => record.add("load_failures"));
      if (remainingPlays() > 0) return await play();
      updateReplayButton();
      enableOptions(); // all replays were used before a reload
    } catch {
      showLoadError();
    }
  };
  const showLoadError = () => {
    const note = find("load-error");
    find("replays-left").textContent = "";
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
    skip.textContent = "Continue without it";
    skip.addEventListener("click", () => answer({ is_unplayable: true }));
    note.append(retry, " ", skip);
    retry.focus();
  };
  player.on("ended", updateReplayButton);
  find("replay").addEventListener("click", play);
  handleKey = letterKeyHandler(choose, () => { play(); return true; });
  load();

  const response = await answered;
  player.stop();
  stopWatching();
  handleKey = () => false;
  const replays = Math.max(0, Math.min(step.max_replays, record.get("plays") - 1));
  return { ...response, replays, focus_lost: record.get("focus_lost"), load_failures: record.get("load_failures") };
}

// After a practice trial: show the correct option.
export function showFeedback(step, choice, target) {
  optionButtons()[target]?.classList.add("correct");
  const feedbackText = find("feedback-text");
  const isCorrect = choice === target;
  find("feedback").hidden = false;
  feedbackText.classList.toggle("good", isCorrect);
  feedbackText.textContent = isCorrect ? "Correct." : `The answer is ${step.question.options[target]}. The study itself gives no feedback.`;
  find("continue").focus();
  return waitForContinue();
}

export const screens = {
  instructions,
  sound_check: soundCheck,
  headphone_check: headphoneCheck,
  practice: askQuestion,
  block_intro: blockIntro,
  trial: askQuestion,
  attention_check: attentionCheck,
  comments,
};
