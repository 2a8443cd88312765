// The participant's session: show the current step, send what was answered, show what the server says is next.

import { Gone, memory, request, resume, send } from "./net.js";
import { feedback, screens, show } from "./screens.js";

const ENDS = {
  late: ["Your session has ended", "There was no answer for too long, so the clips that were left have gone to somebody else. Thank you for those you judged."],
  screened: ["Thank you for your interest", "This study needs headphones, and the headphone check was not passed. Nothing more is needed from you."],
  closed: ["The study is closed", "It takes no more answers. Those you have given are saved. Thank you!"],
  none: ["You are not in this study", "You may have withdrawn, or your answers were deleted on request."],
};

const meta = (name) => Number(document.querySelector(`meta[name="study-${name}"]`).content);

// The header, in words and as a bar. Each caller says all of it, so that nothing of the screen before stays.
function where(text, done = 0, of = 1) {
  const bar = document.getElementById("progress");
  document.getElementById("where").textContent = text;
  bar.hidden = text === "";
  bar.max = of; // before the value, which is cut to it
  bar.value = done;
}

function place(step) {
  if (step.kind === "comments") return ["All clips done · one last question", 1];
  if (step.kind === "practice") return [`Practice · clip ${step.place_in_block + 1} of ${step.in_block}`];
  if (step.block === undefined) return ["Before we begin"];
  const left = Math.max(1, Math.round(((step.total - step.place) * meta("minutes")) / meta("trials")));
  const clip = step.kind === "trial" ? `clip ${step.place_in_block + 1} of ${step.in_block} · ` : "";
  const text = `Part ${step.block + 1} of ${step.blocks} · ${clip}about ${left} ${left === 1 ? "minute" : "minutes"} left`;
  return [text, step.place, step.total];
}

function end(now) {
  if (now.state === "finished") {
    where("Finished", 1);
    show("finished", (find) => {
      find("code").textContent = now.code;
      if (now.link) {
        find("link").hidden = false;
        find("link").firstElementChild.href = now.link;
      }
    });
    return;
  }
  const [title, text] = ENDS[now.state] ?? ["Something went wrong", "Please reload the page. Nothing is lost."];
  document.getElementById("withdraw").hidden = now.state === "none";
  message(title, text);
}

function message(title, text) {
  where("");
  show("message", (find) => {
    find("title").textContent = title;
    find("text").textContent = text;
  });
}

async function run() {
  let now = (await resume()) ?? (await request("/api/now"));
  while (now.state === "active") {
    const step = now.step;
    where(...place(step));
    document.body.dataset.step = `${step.number} ${step.kind}`;
    const answer = await screens[step.kind](step, now.status === "again");
    now = await send(step.number, answer);
    if (now.feedback && step.kind === "practice") await feedback(step, answer.choice, now.feedback.answer);
    const elsewhere = now.status === "stale" && now.state === "active" && now.step.number !== step.number;
    document.getElementById("status").textContent = elsewhere ? "That clip was answered in another tab. Here is where you are." : "";
  }
  document.body.dataset.step = now.state;
  end(now);
}

document.getElementById("withdraw").addEventListener("click", () => document.getElementById("sure").showModal());
document.getElementById("sure").addEventListener("close", async (event) => {
  const dialog = event.target;
  if (dialog.returnValue !== "yes") return;
  try {
    await request("/api/withdraw", {});
  } catch (error) {
    failed(error);
    return;
  }
  memory.drop("study-pending");
  document.body.dataset.step = "withdrawn";
  document.getElementById("withdraw").hidden = true;
  message("You have withdrawn", "Everything we kept of you has been deleted. Thank you for your interest.");
});

function failed(error) {
  const session = error instanceof Gone && (error.status === 401 || error.status === 403);
  document.getElementById("withdraw").hidden = session;
  if (session) message("Your session has ended", "The browser no longer has this study's cookie. Open the study's link again, with the browser in which you began.");
  else message("Something went wrong", "Please reload the page. Nothing is lost.");
}

run().catch(failed);
