// From a panel, as scripts/pipeline/explore/drawn.py describes it, to a specification of Vega-Lite.

const DARK = matchMedia("(prefers-color-scheme: dark)");
const SHAPES = {
  o: "circle", s: "square", D: "diamond", d: "diamond", "^": "triangle-up", v: "triangle-down", "<": "triangle-left",
  ">": "triangle-right", P: "cross", "+": "cross", X: "cross", x: "cross", p: "square", h: "circle", "*": "diamond",
  ".": "circle", _: "stroke",
};
const DIGITS = 6;

/** A number as readers see it. */
function shown(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const short = Number(value.toPrecision(DIGITS));
  const small = short !== 0 && (Math.abs(short) < 1e-4 || Math.abs(short) >= 1e9);
  return small ? short.toExponential() : short.toLocaleString("en", { maximumSignificantDigits: DIGITS });
}

/** A colour that stands out from the ground of the page: dark ones are lightened on a dark ground. */
function visible(color) {
  if (!DARK.matches || !/^#[0-9a-f]{6}$/.test(color)) return color;
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const luminance = (0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]) / 255;
  if (luminance > 0.38) return color;
  const white = luminance < 0.08 ? 0.85 : 0.45;
  const mixed = parts.map((part) => Math.round(part + (255 - part) * white));
  return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

function shape(marker) {
  return SHAPES[marker] || "circle";
}

/** Name of a place on an axis: the text of its tick, if there is one, or the number. */
function place(axis, value) {
  const tick = (axis.ticks || []).find(([at]) => Math.abs(at - value) < 0.5);
  return tick ? tick[1] : shown(value);
}

function fits(value, scale) {
  return value !== null && value !== undefined && (scale !== "log" || value > 0);
}

/** Rows of all series that can be seen on these scales. */
function rowsOf(panel, xScale, yScale) {
  return panel.series.flatMap((series, number) =>
    series.x.flatMap((x, i) => {
      const [y, low, high] = [series.y[i], series.low?.[i] ?? null, series.high?.[i] ?? null];
      if (!fits(x, xScale) || !(fits(y, yScale) || fits(high, yScale))) return [];
      const range = high === null ? "" : `${shown(low)} to ${shown(high)}`;
      const row = {
        id: number, series: series.label, color: visible(series.color), x, y: fits(y, yScale) ? y : null, order: i,
        low: fits(low, yScale) ? low : high, high, shape: shape(series.marker),
        fill: series.hollow?.[i] ? css("--ground") : visible(series.color),
        xText: place(panel.x, x), yText: y === null ? "" : place(panel.y, y), range, more: series.more?.[i] ?? "",
      };
      row.text = [row.series, `${panel.x.label || "x"} ${row.xText}`, `${panel.y.label || "y"} ${row.yText}`, range]
        .filter(Boolean).join(", ");
      return [row];
    }));
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function scaleOf(axis, scale) {
  const found = { type: scale, reverse: axis.reverse, nice: false, padding: 12 };
  if (scale !== "log") found.zero = false;
  if (scale === "symlog") found.constant = axis.constant ?? 1;
  return found;
}

function axisOf(axis, scale, values, flat) {
  const found = { title: axis.label || null, labelOverlap: "greedy", tickCount: 6 };
  if (axis.ticks) {
    found.values = axis.ticks.map(([at]) => at);
    found.labelExpr = `${JSON.stringify(Object.fromEntries(axis.ticks))}[datum.value]`;
    found.labelLimit = 170;
    found.labelOverlap = false;
    delete found.tickCount;
    if (flat && crowded(axis)) Object.assign(found, { labelAngle: -60, labelAlign: "right" });
    return found;
  }
  found.labelExpr = "abs(datum.value) >= 1e6 || (datum.value != 0 && abs(datum.value) < 1e-3) ? "
    + "format(datum.value, '.2~e') : format(datum.value, ',.6~f')";
  const places = [...new Set(values)];
  if (scale === "symlog") found.values = decades(places);
  else if (scale === "log" && places.length) {
    const few = places.length <= 14 && places.every(Number.isInteger);
    found.values = few ? places.sort((one, other) => one - other) : logTicks(Math.min(...places), Math.max(...places));
  }
  return found;
}

/** Whether the names of ticks need to stand at an angle. */
function crowded(axis) {
  return (axis.ticks || []).map(([, text]) => text).join("").length > 45;
}

/** Places with numbers on a logarithmic axis: the more in a decade, the fewer decades there are. */
function logTicks(least, most) {
  const digits = [[1000, [1]], [6, [1, 2, 5]], [2.5, [1, 1.5, 2, 3, 4, 5, 7]]].find(([span]) => most > span * least)?.[1];
  if (!digits) return undefined;
  const powers = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power += 1) powers.push(power);
  return powers.flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`)));
}

/** 0 and powers of ten up to the largest value, for axes that Vega puts evenly spaced ticks on. */
function decades(values) {
  const most = Math.max(1, ...values.map(Math.abs));
  const powers = Array.from({ length: Math.floor(Math.log10(most)) + 1 }, (_, power) => 10 ** power);
  return [...(values.some((value) => value < 0) ? powers.map((power) => -power) : []), 0, ...powers];
}

function tooltip(panel) {
  return [
    { field: "series", title: "series" }, { field: "xText", title: panel.x.label || "x" },
    { field: "yText", title: panel.y.label || "y" }, { field: "range", title: panel.rangeTitle || "band or bar" },
    ...(panel.moreTitle ? [{ field: "more", title: panel.moreTitle }] : []),
  ];
}

/** The specification. ``scales`` are those of x and y, ``ranges`` says whether bands and bars are shown. */
function chart(panel, scales, ranges, height) {
  const rows = rowsOf(panel, scales.x, scales.y);
  const values = (name) => rows.map((row) => row[name]).filter((value) => value !== null);
  const x = { field: "x", type: "quantitative", scale: scaleOf(panel.x, scales.x), axis: axisOf(panel.x, scales.x, values("x"), true) };
  const y = { field: "y", type: "quantitative", scale: scaleOf(panel.y, scales.y), axis: axisOf(panel.y, scales.y, ["y", "low", "high"].flatMap(values), false) };
  const layers = [...cells(panel, scales, x, y), ...rules(panel, scales)];
  if (ranges) layers.push(...spreads(panel, x, y));
  if (rows.length) layers.push(...curves(panel, x, y), ...marks(panel, x, y));
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    description: `${panel.title || "Panel"}: ${panel.y.label || "values"} against ${panel.x.label || "x"}`,
    width: "container", height, autosize: { type: "fit", contains: "padding" },
    data: { values: rows }, layer: layers, config: looks(),
  };
}

function curves(panel, x, y) {
  const kinds = [[false, true], [true, true], [false, false], [true, false]];
  return kinds.flatMap(([dashed, faint]) => {
    const ids = panel.series.flatMap((series, id) =>
      (series.line && series.dashed === dashed && Boolean(series.faint) === faint ? [id] : []));
    if (!ids.length) return [];
    return [{
      transform: [{ filter: { field: "id", oneOf: ids } }, { filter: "datum.y !== null" }],
      mark: { type: "line", strokeDash: dashed ? [5, 3] : [], strokeWidth: faint ? 0.9 : 1.8, opacity: faint ? 0.6 : 1, aria: false },
      encoding: { x, y, detail: { field: "id" }, order: { field: "order" }, color: literal("color") },
    }];
  });
}

/** Points, and around each an invisible place that is large enough for a finger. */
function marks(panel, x, y) {
  const bare = panel.series.flatMap((series, id) => (series.marker ? [] : [id]));
  const size = { condition: { test: { field: "id", oneOf: bare }, value: 6 }, value: 42 };
  const there = [{ filter: "datum.y !== null" }];
  return [{
    transform: there,
    mark: { type: "point", filled: true, size: 300, opacity: 0, aria: false },
    encoding: { x, y, tooltip: tooltip(panel) },
  }, {
    transform: there,
    mark: { type: "point", filled: true, strokeWidth: 1.4, opacity: 1 },
    encoding: {
      x, y, size, stroke: literal("color"), fill: literal("fill"), shape: { field: "shape", type: "nominal", scale: null },
      description: { field: "text" }, tooltip: tooltip(panel),
    },
  }];
}

/** Bands behind curves, and bars through points. */
function spreads(panel, x, y) {
  const ids = (bars) => panel.series.flatMap((series, id) => (series.high?.some((end) => end !== null) && Boolean(series.bars) === bars ? [id] : []));
  const ends = { y: { ...y, field: "low" }, y2: { field: "high" } };
  const of = (bars, mark) => (ids(bars).length ? [{
    transform: [{ filter: { field: "id", oneOf: ids(bars) } }, { filter: "datum.low !== null && datum.high !== null" }],
    mark: { ...mark, aria: false }, encoding: { x, ...ends, detail: { field: "id" }, color: literal("color") },
  }] : []);
  return [...of(false, { type: "area", opacity: 0.18 }), ...of(true, { type: "rule", strokeWidth: 1.6, opacity: 0.8 })];
}

function rules(panel, scales) {
  return panel.rules.filter(([axis, at]) => fits(at, scales[axis])).map(([axis, at, label]) => ({
    data: { values: [{ at, label }] },
    mark: { type: "rule", strokeDash: [2, 3], color: css("--quiet"), aria: false },
    encoding: {
      [axis]: { field: "at", type: "quantitative", scale: scaleOf(panel[axis], scales[axis]) },
      tooltip: [{ field: "label", title: "line" }, { field: "at", title: panel[axis].label || axis }],
    },
  }));
}

/** Bars, and the cells of a map in the colours of their values. */
function cells(panel, scales, x, y) {
  return panel.boxes.map((boxes) => {
    const values = boxes.cells.map(([left, right, low, high, value]) => ({
      left, right, low, high, value, label: boxes.label,
      xText: place(panel.x, (left + right) / 2), yText: place(panel.y, (low + high) / 2), valueText: shown(value),
      text: [boxes.label, place(panel.y, (low + high) / 2), shown(value)].filter(Boolean).join(", "),
    }));
    const map = !boxes.color;
    const color = map
      ? { field: "value", type: "quantitative", scale: { type: boxes.log ? "log" : "linear", scheme: "viridis" },
          legend: { title: null, gradientLength: 120 } }
      : { value: visible(boxes.color) };
    const named = [{ field: "label", title: "series" }, { field: "xText", title: panel.x.label || "x" },
      { field: "yText", title: panel.y.label || "y" }, { field: "valueText", title: "value" }];
    return {
      data: { values }, mark: { type: "rect", stroke: css("--ground"), strokeWidth: 0.5 },
      encoding: { x: { ...x, field: "left" }, x2: { field: "right" }, y: { ...y, field: "low" }, y2: { field: "high" },
        color, description: { field: "text" }, tooltip: map ? named.slice(1) : [named[0], named[2], named[3]] },
    };
  });
}

function literal(field) {
  return { field, type: "nominal", scale: null };
}

function looks() {
  const [text, quiet, grid] = ["--text", "--quiet", "--grid"].map(css);
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  return {
    background: null, font, view: { stroke: null },
    axis: { labelColor: text, titleColor: text, gridColor: grid, domainColor: quiet, tickColor: quiet,
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
    legend: { labelColor: text, titleColor: text },
  };
}

/** Rows of a panel for a table or a file: series, x, y and the ends. */
function numbersOf(panel) {
  const points = panel.series.flatMap((series) => series.x.map((x, i) =>
    [series.label, x, series.y[i], series.low?.[i] ?? null, series.high?.[i] ?? null, series.more?.[i] ?? ""]));
  const boxes = panel.boxes.flatMap((one) => one.cells.map(([left, right, low, high, value]) =>
    [one.label || place(panel.y, (low + high) / 2), (left + right) / 2, value, low, high, ""]));
  return [...points, ...boxes];
}
