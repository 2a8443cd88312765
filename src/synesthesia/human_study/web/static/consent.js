// Joining: nothing is kept of anybody who has not agreed.

import { Gone, request } from "./net.js";

const WHY = {
  full: "All places are taken at the moment. If somebody does not finish, a place opens again within a few hours: please come back later.",
  complete: "The study is complete: all clips have been judged. Thank you for your interest!",
  paused: "The study is paused. Please come back later.",
  closed: "The study is closed. Thank you for your interest!",
  elsewhere: "You have begun already, in another browser or on another device. Please go on there.",
  "no session": "This page needs one cookie to know you by. Please allow cookies for it and reload.",
  forged: "This page is out of date. Please reload it.",
};

const form = document.getElementById("join");
const button = document.getElementById("begin");
const problem = document.getElementById("problem");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  problem.hidden = true;
  try {
    await request("/api/join", { agreed: document.getElementById("agree").checked });
    location.assign("/study");
  } catch (error) {
    problem.hidden = false;
    problem.textContent = (error instanceof Gone && WHY[error.message]) || "Something went wrong. Please reload the page.";
    problem.scrollIntoView({ block: "nearest" });
    button.disabled = false;
  }
});
