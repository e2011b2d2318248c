// What a page does beyond showing: it goes on by itself while somebody looks, and follows a log in place.
"use strict";

// Nobody looks at a page in the background, so nothing is asked for it.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});

const connection = document.getElementById("connection");
const say = (isLost) => {
  if (!connection || connection.classList.contains("lost") === isLost) return;
  connection.classList.toggle("lost", isLost);
  connection.lastChild.textContent = isLost ? "No answer" : "Live";
};
document.addEventListener("htmx:sendError", () => say(true));
document.addEventListener("htmx:responseError", () => say(true));
document.addEventListener("htmx:afterOnLoad", () => say(false));

// Without this, the link leads to the log itself, which a browser shows as it comes.
const link = document.getElementById("follow");
const lines = document.getElementById("lines");
const MOST_CHARACTERS = 500_000;
let following = null;

const follow = async () => {
  following = new AbortController();
  link.textContent = "Stop";
  try {
    const response = await fetch(link.href, { signal: following.signal });
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    lines.textContent = "";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;
      lines.append(piece.value);
      if (lines.textContent.length > MOST_CHARACTERS) lines.textContent = lines.textContent.slice(-MOST_CHARACTERS / 2);
      if (isAtEnd) lines.scrollTop = lines.scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") lines.append(`\n(the log cannot be followed: ${error.message})\n`);
  }
  following = null;
  link.textContent = "Follow";
};

if (link) {
  link.setAttribute("role", "button");
  link.addEventListener("click", (event) => {
    event.preventDefault();
    if (following) following.abort();
    else follow();
  });
  link.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    link.click();
  });
}
