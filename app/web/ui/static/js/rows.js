// Remembers whether this person wants larger rows.

const NAME = "larger-rows";

export const startRows = () => {
  const box = document.getElementById("larger");
  if (!box) return;
  box.checked = localStorage.getItem(NAME) === "true";
  box.addEventListener("change", () => localStorage.setItem(NAME, box.checked));
};
