// Joining. Nothing is stored of anybody who has not consented.

import { RequestRefused, request } from "./net.js";

const REFUSAL_MESSAGES = {
  full: "All places are taken at the moment. If a participant does not finish, a place opens within a few hours: please come back later.",
  complete: "The study is complete: all clips have been judged. Thank you for your interest!",
  paused: "The study is paused. Please come back later.",
  closed: "The study is closed. Thank you for your interest!",
  already_joined: "You have already started in another browser or on another device. Please continue there.",
  no_session: "This page needs one cookie to recognize you. Please allow cookies for it and reload.",
  csrf_failed: "This page is out of date. Please reload it.",
};

if (location.search) history.replaceState(null, "", location.pathname); // the platform's id need not stay in view

const form = document.getElementById("join");
const button = document.getElementById("start");
const errorMessage = document.getElementById("join-error");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  errorMessage.hidden = true;
  try {
    await request("/api/join", { has_consented: document.getElementById("consent-checkbox").checked });
    location.assign("/study");
  } catch (error) {
    const message = error instanceof RequestRefused && REFUSAL_MESSAGES[error.message];
    errorMessage.hidden = false;
    errorMessage.textContent = message || "Something went wrong. Please reload the page.";
    errorMessage.scrollIntoView({ block: "nearest" });
    button.disabled = false;
  }
});
