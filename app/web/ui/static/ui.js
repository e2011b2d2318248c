// What needs JavaScript: reloading only while the tab is visible, the connection indicator, following a log in place.
"use strict";

// A page in a background tab is not reloaded.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});

const connection = document.getElementById("connection");
const showConnection = (isLost) => {
  if (!connection || connection.classList.contains("lost") === isLost) return;
  connection.classList.toggle("lost", isLost);
  connection.lastChild.textContent = isLost ? "Disconnected" : "Live";
};
document.addEventListener("htmx:sendError", () => showConnection(true));
document.addEventListener("htmx:responseError", () => showConnection(true));
document.addEventListener("htmx:afterOnLoad", () => showConnection(false));

// A reload leaves an opened table open.
let opened = [];
document.addEventListener("htmx:beforeSwap", () => {
  opened = [...document.querySelectorAll("#live details[open]")].map((details) => details.id);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
});

// Without JavaScript, the link opens the log as plain text, which a browser shows while it is received.
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
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;
      lines.append(chunk.value);
      if (lines.textContent.length > MOST_CHARACTERS) lines.textContent = lines.textContent.slice(-MOST_CHARACTERS / 2);
      if (isAtEnd) lines.scrollTop = lines.scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") lines.append(`\n(cannot follow the log: ${error.message})\n`);
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
