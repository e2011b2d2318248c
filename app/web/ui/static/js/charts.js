// Draws charts with uPlot from the tables beside them, so that a chart and its table never differ. A range that is
// drawn with the mouse becomes the range of the page.

const HEIGHT = 140;
const WHOLE = [1, 2, 5].flatMap((digit) => [0, 1, 2, 3, 4, 5].map((power) => digit * 10 ** power)).sort((a, b) => a - b);
const POWERS_OF_TWO = Array.from({ length: 50 }, (_, power) => 2 ** power);
const INCREMENTS = { pods: WHOLE, memory: POWERS_OF_TWO };

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
const trim = (value) => String(Number(value.toPrecision(3)));
const FORMATS = {
  pods: (value) => value.toLocaleString("en-US", { maximumFractionDigits: 1 }),
  cpu: (value) => (value > 0 && value < 1 ? `${trim(value * 1000)}m` : trim(value)),
  memory: (value) => {
    const power = value > 0 ? Math.min(Math.floor(Math.log2(value) / 10), BINARY.length - 1) : 0;
    return trim(value / 1024 ** power) + BINARY[power];
  },
  seconds: (value) => (value > 0 && value < 1 ? `${trim(value * 1000)} ms` : `${trim(value)} s`),
};

const iso = (seconds) => new Date(seconds * 1000).toISOString();

// The times and the values of a table, from the oldest on.
const read = (figure) => {
  const table = figure.querySelector("details table"); // the legend is a table, too
  const heads = [...table.querySelectorAll("thead [data-color]")];
  const rows = [...table.querySelectorAll("tbody tr")].reverse();
  const times = rows.map((row) => Date.parse(row.querySelector("time").dateTime) / 1000);
  const lines = heads.map((head, index) => ({
    label: head.textContent,
    color: color(head.dataset.color),
    values: rows.map((row) => {
      const value = row.querySelectorAll("td")[index].dataset.value;
      return value === "" ? null : Number(value);
    }),
  }));
  return { times, lines, key: heads.map((head) => head.textContent).join() };
};

// Each line on top of those before it. The first is drawn last, over the others.
const stacked = (lines) => {
  const sums = lines.map(() => []);
  lines[0]?.values.forEach((_, at) => {
    let sum = 0;
    for (let line = lines.length - 1; line >= 0; line -= 1) {
      const value = lines[line].values[at];
      sum += value ?? 0;
      sums[line].push(value === null ? null : sum);
    }
  });
  return sums;
};

const axisTime = (plot, splits) => {
  const span = plot.scales.x.max - plot.scales.x.min;
  return splits.map((split) => (span > 2 * 86400 ? iso(split).slice(5, 10) : iso(split).slice(11, span < 600 ? 19 : 16)));
};

const chooseRange = (plot) => {
  if (plot.select.width < 4) return;
  const [from, to] = [0, plot.select.width].map((x) => iso(plot.posToVal(plot.select.left + x, "x")).slice(0, 19));
  const url = new URL(location.href);
  for (const name of ["at", "after"]) url.searchParams.delete(name);
  url.searchParams.set("from", from);
  url.searchParams.set("to", to);
  if (from < to) location.assign(url);
};

const draw = (figure) => {
  const place = figure.querySelector(".plot");
  const { times, lines, key } = read(figure);
  const kind = figure.dataset.chart;
  const format = FORMATS[figure.dataset.unit];
  const data = [times, ...(kind === "stack" ? stacked(lines) : lines.map((line) => line.values))];
  if (figure.plot && figure.plotKey === key) {
    figure.plotLines = lines;
    figure.plot.setData(data);
    return;
  }
  figure.plot?.destroy();
  figure.plotLines = lines;
  const axis = { stroke: color("--quiet"), font: "11px system-ui, sans-serif", grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1, size: 4 } };
  figure.plot = new window.uPlot({
    width: place.clientWidth,
    height: HEIGHT,
    padding: [8, 12, 0, 0],
    tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { sync: { key: "overview" }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    bands: kind === "stack" ? lines.slice(1).map((_, index) => ({ series: [index + 1, index + 2] })) : undefined,
    hooks: { setSelect: [chooseRange] },
    scales: { y: { range: (plot, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [
      { ...axis, values: axisTime, size: 26, space: 60 },
      { ...axis, values: (plot, splits) => splits.map(format), size: 52, space: 28, incrs: INCREMENTS[figure.dataset.unit] },
    ],
    series: [
      { label: "", value: (plot, seconds) => (seconds === null ? "" : iso(seconds).slice(11, 19)) },
      ...lines.map((line, index) => ({
        label: line.label,
        stroke: line.color,
        fill: kind === "lines" ? undefined : kind === "bars" ? line.color : `${line.color}b0`,
        width: { lines: 1.75, stack: 1, bars: 0 }[kind],
        paths: kind === "bars" ? window.uPlot.paths.bars({ size: [0.5, 24], align: index ? 1 : -1 }) : undefined,
        dash: ["Capacity", "Limit"].includes(line.label) ? [6, 4] : undefined,
        spanGaps: !("gaps" in figure.dataset),
        points: { show: kind === "lines" && line.values.filter((value) => value !== null).length < ("gaps" in figure.dataset ? 30 : 3), size: 4 },
        value: (plot, _, __, at) => {
          const value = at === null || at === undefined ? null : figure.plotLines[index].values[at];
          return value === null || value === undefined ? "" : format(value);
        },
      })),
    ],
  }, data, place);
  figure.plotKey = key;
  place.classList.add("drawn");
  place.classList.remove("skeleton");
};

export const startCharts = () => {
  const figures = () => document.querySelectorAll("figure[data-chart]");
  if (!window.uPlot || !figures().length) return;
  const drawAll = () => figures().forEach(draw);
  const redrawAll = () => {
    for (const figure of figures()) figure.plotKey = null;
    drawAll();
  };
  drawAll();
  document.addEventListener("ui:reload", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  new ResizeObserver(() => {
    for (const figure of figures()) figure.plot?.setSize({ width: figure.querySelector(".plot").clientWidth, height: HEIGHT });
  }).observe(document.querySelector(".charts"));
};
