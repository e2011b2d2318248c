// Keys, outside of form fields: `/` search, `j` and `k` next and previous row, `g` and a letter to go to a page,
// `t` the time, `[` and `]` previous and next change.
//
// An element names its key by `data-key`: `data-key="g p"` is a link that `g` and then `p` opens. Rows are the links
// with `data-row`; the focus marks the row, so that Enter opens it.

const isField = (element) => element.closest("input:not([type=checkbox]), select, textarea, [contenteditable]") !== null;

const moveRow = (step) => {
  const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row.checkVisibility());
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1);
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
};

const activate = (element) => {
  if (element.matches("input")) {
    element.focus();
    element.select();
  } else {
    element.click();
    if (element.matches("summary")) element.focus();
  }
};

export const startKeyboard = () => {
  let prefix = "";
  let forget = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isField(event.target)) return;
    const keys = prefix + event.key;
    clearTimeout(forget);
    prefix = "";
    if (keys === "j" || keys === "k") moveRow(keys === "j" ? 1 : -1);
    else if (keys === "g") {
      prefix = "g ";
      forget = setTimeout(() => { prefix = ""; }, 1500);
      return;
    } else {
      const found = document.querySelector(`[data-key="${CSS.escape(keys)}"]`);
      if (!found) return;
      activate(found);
    }
    event.preventDefault();
  });
};
