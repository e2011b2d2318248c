// Reloads the part of the page that changes: the element with `data-live`, the number of seconds between two reloads.
//
// The page is requested again and its new part is merged into the old one, element by element, so that focus, scroll
// position, selected text and opened details stay. After each reload the event `ui:reload` is sent. An element with
// `data-keep` keeps its children: scripts have put them there.

const live = (page) => page.getElementById("live");
const seconds = () => Number(live(document)?.dataset.live);
const ownChildren = (element) => element.nodeType === 1 && element.hasAttribute("data-keep");

const CALLBACKS = {
  beforeNodeMorphed: (before) => !ownChildren(before),
  beforeAttributeUpdated: (name, element) => !(name === "open" && element.tagName === "DETAILS"),
};

const merge = (html) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  const [before, after] = [document, page].map(live);
  if (!before || !after) return location.reload(); // such as a sign-in page in place of this one
  const rows = () => [...document.querySelectorAll("[data-row]")];
  const place = rows().indexOf(document.activeElement);
  window.Idiomorph.morph(before, after, { ignoreActiveValue: true, callbacks: CALLBACKS });
  // Of a pod that is gone, the focus goes to the row that is now in its place.
  if (place >= 0 && document.activeElement === document.body) rows().slice(0, place + 1).pop()?.focus({ preventScroll: true });
  document.title = page.title;
  document.dispatchEvent(new CustomEvent("ui:reload"));
};

const showConnection = (isLost) => {
  const connection = document.getElementById("connection");
  if (!connection || connection.classList.contains("lost") === isLost) return;
  connection.classList.toggle("lost", isLost);
  connection.lastChild.textContent = isLost ? "Connection lost" : "Live";
  document.dispatchEvent(new CustomEvent(isLost ? "ui:lost" : "ui:found"));
};

const reload = async () => {
  try {
    const response = await fetch(location.href, { cache: "no-store" });
    if (response.status === 401) return void location.reload(); // which leads to the sign-in
    if (response.status >= 500) throw new Error(response.statusText);
    const html = await response.text();
    showConnection(false);
    if (document.getSelection().isCollapsed) merge(html); // selected text would change under the pointer
  } catch {
    showConnection(true);
  }
};

export const startLive = () => {
  if (!seconds()) return;
  const schedule = () => seconds() && setTimeout(run, seconds() * 1000);
  const run = async () => {
    if (!document.hidden) await reload(); // a tab in the background is not reloaded
    schedule();
  };
  document.addEventListener("visibilitychange", () => document.hidden || !seconds() || reload());
  schedule();
};
