// Find what keeps people from reading a page or using it. Gives a line for each fault.
() => {
  const found = [];
  const elements = (selector) => [...document.querySelectorAll(selector)];
  const isVisible = (it) => it.getClientRects().length > 0;
  const short = (it) => it.outerHTML.slice(0, 80);
  const fields = "input:not([type=hidden]), select";

  // Names and labels
  const name = (it) => it.getAttribute("aria-label") || it.labels?.[0]?.textContent || it.textContent || "";
  for (const it of elements(`a, button, summary, nav, form, [role=region], ${fields}`))
    if (isVisible(it) && !name(it).trim()) found.push(`no name: ${short(it)}`);
  for (const it of elements(fields)) if (!it.labels.length) found.push(`no label: ${short(it)}`);
  const ids = elements("[id]").map((it) => it.id);
  for (const id of ids.filter((id, i) => ids.indexOf(id) !== i)) found.push(`twice: #${id}`);

  // Structure
  if (!document.documentElement.lang) found.push("no language");
  for (const tag of ["header", "main", "nav", "footer"]) if (!elements(tag).length) found.push(`no ${tag}`);
  const levels = elements("h1, h2, h3, h4").map((it) => Number(it.tagName[1]));
  const isInOrder = levels.every((level, i) => (i ? level > 1 && level <= levels[i - 1] + 1 : level === 1));
  if (!isInOrder) found.push(`headings ${levels}`);
  for (const it of elements("table")) if (!it.caption) found.push(`no caption: ${short(it)}`);
  for (const it of elements("th")) if (!it.scope) found.push(`no scope: ${short(it)}`);

  // Contrast, as WCAG 2 has it: 4.5 for text
  const rgba = (color) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => (c * a) / 255 + below[i] * (1 - a / 255));
  const ground = (it) => {
    if (!it) return [255, 255, 255];
    const own = rgba(getComputedStyle(it).backgroundColor);
    return own[3] === 255 ? own.slice(0, 3) : over(own, ground(it.parentElement));
  };
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const hasText = (it) => [...it.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  for (const it of elements("body *").filter((it) => hasText(it) && isVisible(it))) {
    const style = getComputedStyle(it);
    const isDrawn = it.tagName === "text";
    const block = isDrawn ? getComputedStyle(it.parentElement.querySelector("rect")).fill : "none";
    const below = block === "none" ? ground(it) : over(rgba(block), ground(it));
    const lights = [light(below), light(over(rgba(isDrawn ? style.fill : style.color), below))];
    const ratio = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${it.textContent.trim().slice(0, 40)}`);
  }

  const { scrollWidth } = document.documentElement;
  if (scrollWidth > innerWidth) found.push(`wider than the screen: ${scrollWidth}`);
  return [...new Set(found)];
}
