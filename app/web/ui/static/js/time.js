// The time control: closes on Escape and on a click elsewhere, and leaves empty fields out of the URL.

export const startTimeControl = () => {
  const control = document.getElementById("time");
  if (!control) return;
  const close = () => {
    if (!control.open) return;
    const hadFocus = control.contains(document.activeElement);
    control.open = false;
    if (hadFocus) control.querySelector("summary").focus();
  };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  document.addEventListener("click", (event) => { if (!control.contains(event.target)) close(); });
  for (const form of document.querySelectorAll("form[method=get], form:not([method])"))
    form.addEventListener("formdata", ({ formData }) => {
      for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
    });
};
