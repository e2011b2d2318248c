// Moves the clock of the header while the page is live: the time of the node, not of this machine.

export const startClock = () => {
  const clock = document.getElementById("clock");
  if (!clock || !("ticking" in clock.dataset)) return;
  const ahead = Date.parse(clock.dateTime) - Date.now();
  let isLost = false;
  document.addEventListener("ui:lost", () => { isLost = true; });
  document.addEventListener("ui:found", () => { isLost = false; });
  setInterval(() => {
    if (isLost) return; // the time up to which the page is right
    const now = new Date(Date.now() + ahead).toISOString();
    clock.dateTime = now;
    clock.textContent = now.slice(11, 19);
  }, 1000);
};
