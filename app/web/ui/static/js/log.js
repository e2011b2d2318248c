// Shows the end of a log, wraps its lines at once, and follows it in place. Without JavaScript, the link opens the log
// as plain text, which a browser shows as it comes in.

const MOST_CHARACTERS = 500_000;

const receive = async (response, lines) => {
  if (response.status === 401) return location.reload(); // the session has ended
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  lines.textContent = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;
    lines.append(chunk.value);
    if (lines.textContent.length > MOST_CHARACTERS) lines.textContent = lines.textContent.slice(-MOST_CHARACTERS / 2);
    if (isAtEnd) lines.scrollTop = lines.scrollHeight;
  }
};

// Whether lines are wrapped is remembered for this person, as the size of rows is; a link may ask for it, too.
const WRAP = "wrapped-lines";

const startWrapping = (lines) => {
  const box = document.querySelector(".log-form [name=wrap]");
  if (!box) return;
  const wrap = () => lines?.classList.toggle("wrapped", box.checked);
  box.checked ||= localStorage.getItem(WRAP) === "true";
  wrap();
  box.addEventListener("change", () => {
    wrap();
    localStorage.setItem(WRAP, box.checked);
    const url = new URL(location.href);
    url.searchParams.delete("wrap");
    history.replaceState(null, "", url);
  });
};

export const startLog = () => {
  const link = document.getElementById("follow");
  const lines = document.getElementById("lines");
  startWrapping(lines);
  if (!lines) return; // a search found no line
  lines.scrollTop = lines.scrollHeight;
  if (!link) return; // a past time, or a deleted pod
  let following = null;

  const follow = async () => {
    following = new AbortController();
    link.textContent = "Stop";
    try {
      await receive(await fetch(link.href, { signal: following.signal }), lines);
    } catch (error) {
      if (error.name !== "AbortError") lines.append(`\n(cannot follow the log: ${error.message})\n`);
    }
    following = null;
    link.textContent = "Follow";
  };

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
};
