// The participant's session: show the current step, send the answer, continue with the step in the server's reply.

import { RequestRefused, clearPendingAnswer, request, resendPendingAnswer, sendAnswer } from "./net.js";
import { screens, showFeedback, showScreen } from "./screens.js";

const END_MESSAGES = {
  timed_out: ["Your session has ended", "There was no answer for too long, so the remaining clips went to another participant. Thank you for your answers."],
  screened_out: ["Thank you for your interest", "This study needs headphones, and the headphone check was not passed. You do not need to do anything else."],
  closed: ["The study is closed", "It takes no more answers. Your answers are saved. Thank you!"],
  none: ["You are not in this study", "You may have withdrawn, or your answers were deleted on request."],
};

const metaNumber = (name) => Number(document.querySelector(`meta[name="study-${name}"]`).content);

// Set the header's text and progress bar. Callers set both, so that nothing of the previous screen remains.
function updateHeader(text, value = 0, max = 1) {
  const bar = document.getElementById("progress");
  document.getElementById("progress-text").textContent = text;
  bar.hidden = text === "";
  bar.max = max; // before the value, which is clamped to it
  bar.value = value;
}

function progressLabel(step) {
  if (step.kind === "comments") return ["All clips done · one last question", 1];
  if (step.kind === "practice") return [`Practice · clip ${step.position_in_block + 1} of ${step.n_block_trials}`];
  if (step.block === undefined) return ["Before we start"];
  const remainingTrials = step.n_trials - step.position;
  const remainingMinutes = Math.max(1, Math.round((remainingTrials * metaNumber("minutes")) / metaNumber("trials")));
  const clip = step.kind === "trial" ? `clip ${step.position_in_block + 1} of ${step.n_block_trials} · ` : "";
  const minutes = `about ${remainingMinutes} ${remainingMinutes === 1 ? "minute" : "minutes"} left`;
  return [`Part ${step.block + 1} of ${step.n_blocks} · ${clip}${minutes}`, step.position, step.n_trials];
}

function showEnd(session) {
  if (session.state === "finished") {
    updateHeader("Finished", 1);
    showScreen("finished", (find) => {
      find("code").textContent = session.completion_code;
      if (session.completion_link) {
        find("link").hidden = false;
        find("link").firstElementChild.href = session.completion_link;
      }
    });
    return;
  }
  const [title, text] = END_MESSAGES[session.state] ?? ["Something went wrong", "Please reload the page. Nothing is lost."];
  document.getElementById("withdraw").hidden = session.state === "none";
  showMessage(title, text);
}

function showMessage(title, text) {
  updateHeader("");
  showScreen("message", (find) => {
    find("title").textContent = title;
    find("text").textContent = text;
  });
}

async function runSession() {
  let session = (await resendPendingAnswer()) ?? (await request("/api/session"));
  while (session.state === "active") {
    const step = session.step;
    updateHeader(...progressLabel(step));
    document.body.dataset.step = `${step.number} ${step.kind}`;
    const answer = await screens[step.kind](step, session.status === "retry");
    session = await sendAnswer(step.number, answer);
    if (session.feedback && step.kind === "practice") await showFeedback(step, answer.choice, session.feedback.target);
    const answeredInOtherTab = session.status === "stale" && session.state === "active" && session.step.number !== step.number;
    document.getElementById("status").textContent = answeredInOtherTab ? "That clip was answered in another tab. You continue here." : "";
  }
  document.body.dataset.step = session.state;
  showEnd(session);
}

document.getElementById("withdraw").addEventListener("click", () => document.getElementById("withdraw-dialog").showModal());
document.getElementById("withdraw-dialog").addEventListener("close", async (event) => {
  const dialog = event.target;
  if (dialog.returnValue !== "yes") return;
  try {
    await request("/api/withdraw", {});
  } catch (error) {
    handleError(error);
    return;
  }
  clearPendingAnswer();
  document.body.dataset.step = "withdrawn";
  document.getElementById("withdraw").hidden = true;
  showMessage("You have withdrawn", "All your data has been deleted. Thank you for your interest.");
});

function handleError(error) {
  const isSessionLost = error instanceof RequestRefused && (error.status === 401 || error.status === 403);
  document.getElementById("withdraw").hidden = isSessionLost;
  if (isSessionLost) showMessage("Your session has ended", "The browser no longer has this study's cookie. Open the study's link again in the browser in which you started.");
  else showMessage("Something went wrong", "Please reload the page. Nothing is lost.");
}

// The first page shows the session of a returning participant in place; the platform's id need not stay in view.
if (location.pathname !== "/study") history.replaceState(null, "", "/study");
runSession().catch(handleError);
