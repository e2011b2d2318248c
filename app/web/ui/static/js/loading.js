// Shows a skeleton in place of the list while the next page loads, if that takes a moment.

const PATIENCE = 200;

export const startLoading = () => {
  let timer = 0;
  const stop = () => {
    clearTimeout(timer);
    document.body.classList.remove("loading");
  };
  const start = () => {
    stop();
    timer = setTimeout(() => document.body.classList.add("loading"), PATIENCE);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain || event.defaultPrevented || link.hasAttribute("download")) return;
    if (link.origin === location.origin && link.href.split("#")[0] !== location.href.split("#")[0]) start();
  });
  document.addEventListener("submit", (event) => event.defaultPrevented || start());
  addEventListener("pageshow", stop); // of a page that the browser has kept
};
