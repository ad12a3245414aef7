// The page: which figure, scale and view are chosen, their controls, and what these show.

const INDEX = JSON.parse(document.getElementById("index").textContent);
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#882255", "#7a7a7a", "#117733"];
const MARKERS = "osD^vP<X>hd*";
const MOST_SERIES = 16;
const VIEWS = ["figure", "runs", "facts"];
const state = { name: "", scale: "", view: "figure", data: null, charts: [] };
const el = (id) => document.getElementById(id);

/** An element with properties and children; texts are never taken for HTML. */
function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

async function unpack(id) {
  const bytes = Uint8Array.from(atob(el(id).textContent), (letter) => letter.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
}

function option(value, text = value, chosen = false) {
  return make("option", { value, textContent: text, selected: chosen });
}

function select(label, values, chosen, change) {
  const made = make("select", { onchange: () => change(made.value) });
  made.append(...values.map((value) => (Array.isArray(value) ? option(...value, value[0] === chosen) : option(value, readable(value), value === chosen))));
  return make("label", {}, `${label} `, made);
}

function checkbox(label, checked, change, before = null) {
  const box = make("input", { type: "checkbox", checked, onchange: () => change(box.checked) });
  return make("label", {}, box, before, label);
}

function choices(legend, boxes) {
  return make("fieldset", {}, make("legend", { textContent: legend }), make("div", { className: "choices" }, ...boxes));
}

function readable(name) {
  return String(name).replace(/^c_/, "C_").replace(/^log10_c_/, "log10 C_").replace(/(?<!C)_/g, " ").replaceAll("~", " ");
}

const OUTLINES = {
  circle: '<circle cx="12" cy="7" r="3.6"/>', square: '<rect x="8.6" y="3.6" width="6.8" height="6.8"/>',
  diamond: '<path d="M12 2.4 16 7 12 11.6 8 7z"/>', "triangle-up": '<path d="M12 2.6 16.4 10.6H7.6z"/>',
  "triangle-down": '<path d="M12 11.4 16.4 3.4H7.6z"/>', "triangle-left": '<path d="M7.6 7 15.6 2.6v8.8z"/>',
  "triangle-right": '<path d="M16.4 7 8.4 2.6v8.8z"/>', cross: '<path d="M11 3h2v3h3v2h-3v3h-2V8H8V6h3z"/>',
};

/** What a series looks like: stroke and mark, or a filled place for bands and bars. */
function swatch(series) {
  const color = visible(series.color);
  const dash = series.dashed ? 'stroke-dasharray="4 3"' : "";
  const line = series.line ? `<path d="M0 7h24" stroke="${color}" stroke-width="2" ${dash}/>` : "";
  const mark = series.marker ? `<g fill="${color}">${OUTLINES[shape(series.marker)] ?? OUTLINES.circle}</g>` : "";
  const made = make("span", { className: "swatch", ariaHidden: "true" });
  made.innerHTML = `<svg width="24" height="14">${line || mark ? line + mark : `<rect width="24" height="14" fill="${color}" opacity=".3"/>`}</svg>`;
  return made;
}

function download(name, head, rows) {
  const cell = (value) => (/[",\n]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
  const text = [head, ...rows].map((row) => row.map(cell).join(",")).join("\n");
  const link = make("a", { href: URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function table(head, rows) {
  return make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Numbers" }, make("table", {},
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text })))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((value) => make("td", { textContent: shown(value) })))))));
}

/** Details whose content is made when they are opened. */
function later(summary, content) {
  const made = make("details", {}, make("summary", { textContent: summary }));
  made.addEventListener("toggle", () => { if (made.open && made.children.length === 1) made.append(content()); });
  return made;
}

async function embed(where, spec) {
  const theme = DARK.matches ? "dark" : "light";
  const result = await vegaEmbed(where, spec, { actions: false, renderer: "svg", tooltip: { theme } });
  if (!where.isConnected) result.finalize();
  else state.charts.push(result);
}

function clear() {
  state.charts.splice(0).forEach((result) => result.finalize());
}

function plot(panel, scales, ranges, height) {
  const where = make("div", { className: "chart" });
  const head = ["series", panel.x.label || "x", panel.y.label || "y", "low", "high", ...(panel.moreTitle ? [panel.moreTitle] : [])];
  const rows = () => numbersOf(panel).map((row) => row.slice(0, head.length));
  const figure = make("figure", {}, panel.title ? make("figcaption", { textContent: panel.title }) : null, where,
    later("Numbers", () => table(head, rows())));
  return { figure, draw: () => embed(where, chart(panel, scales, ranges, height)) };
}

function scaleChoice(axis, chosen, change) {
  return select(`${axis} axis`, [["drawn", "as drawn"], ["log", "logarithmic"], ["linear", "linear"]], chosen, change);
}

// ---- the figure as it is drawn -------------------------------------------------------------------------------

const drawn = { hidden: new Set(), x: "drawn", y: "drawn", ranges: true };

function labelOf(series) {
  return series.label || "others";
}

function seriesOf(panels) {
  const found = new Map();
  for (const panel of panels) {
    for (const one of [...panel.series, ...panel.boxes.filter((boxes) => boxes.color)]) {
      if (!found.has(labelOf(one)) || one.marker) found.set(labelOf(one), found.get(labelOf(one))?.marker ? found.get(labelOf(one)) : one);
    }
  }
  return found;
}

function visiblePanels() {
  const kept = (one) => !drawn.hidden.has(labelOf(one));
  return state.data.panels.map((panel) => ({ ...panel, series: panel.series.filter(kept), boxes: panel.boxes.filter((boxes) => !boxes.color || kept(boxes)) }));
}

function showFigure() {
  const { panels, notes } = state.data;
  const view = el("view-figure");
  const redraw = () => { clear(); drawPanels(); };
  const toggle = (label) => (on) => { drawn.hidden[on ? "delete" : "add"](label); redraw(); };
  const boxes = [...seriesOf(panels)].map(([label, series]) =>
    checkbox(label, !drawn.hidden.has(label), toggle(label), swatch(series)));
  const ranged = panels.some((panel) => panel.series.some((series) => series.high));
  view.replaceChildren(
    ...(panels.length ? [] : [make("p", { textContent: "This figure shows no curves; see the picture, the facts and the claims." })]),
    ...(boxes.length > 1 ? [choices("Series", boxes)] : []),
    panels.length ? make("div", { className: "controls" },
      scaleChoice("x", drawn.x, (value) => { drawn.x = value; redraw(); }),
      scaleChoice("y", drawn.y, (value) => { drawn.y = value; redraw(); }),
      ranged ? checkbox("bands and bars", drawn.ranges, (on) => { drawn.ranges = on; redraw(); }) : null,
      make("button", { type: "button", id: "csv-figure", textContent: "Download these numbers (CSV)", onclick: downloadFigure })) : "",
    make("div", { className: "panels" }),
    ...notes.map((note) => make("p", { className: "quiet", textContent: note })));
  drawPanels();
}

function drawPanels() {
  const where = el("view-figure").querySelector(".panels");
  const plots = visiblePanels().map((panel) => {
    const scales = Object.fromEntries(["x", "y"].map((axis) => [axis, chosenScale(drawn[axis], panel[axis])]));
    const rows = panel.y.ticks ? panel.y.ticks.length : 0;
    return plot(panel, scales, drawn.ranges, Math.max(270, 20 * rows + 60) + (crowded(panel.x) ? 110 : 0));
  });
  where.replaceChildren(...plots.map((one) => one.figure));
  plots.forEach((one) => one.draw());
}

/** Axes with names on them stay as they are. */
function chosenScale(choice, axis) {
  return choice === "drawn" || axis.ticks ? axis.scale : choice;
}

function downloadFigure() {
  const rows = visiblePanels().flatMap((panel, number) => numbersOf(panel).map((row) =>
    [panel.title || String(number + 1), row[0], panel.x.label, row[1], panel.y.label, ...row.slice(2, 5)]));
  download(`${state.name}-${state.scale}.csv`, ["panel", "series", "x_label", "x", "y_label", "y", "low", "high"], rows);
}

// ---- runs, by seed -------------------------------------------------------------------------------------------

let runs = null;

function startRuns(name) {
  const whole = state.data.tables[name];
  const distinct = (key) => [...new Set(whole.columns[key])];
  const numeric = whole.keys.filter((key) => whole.columns[key].every((value) => typeof value === "number"));
  const x = ["epoch", "width"].find((key) => numeric.includes(key)) || numeric.at(-1) || whole.keys[0] || whole.quantities[0];
  const others = whole.keys.filter((key) => key !== x);
  const by = others.find((key) => key !== "points" && distinct(key).length <= MOST_SERIES) || "";
  const picked = ["c_lower", "value"].find((key) => whole.quantities.includes(key)) || whole.quantities[0];
  runs = { name, whole, x, by, quantities: new Set([picked]), filters: {}, hidden: new Set(), points: true, means: Boolean(whole.means), xScale: "", yScale: "log" };
  setFilters();
}

function distinct(key) {
  return [...new Set(runs.whole.columns[key])];
}

/** Every key that is neither on the axis nor told apart by colour has one value: training points, if there are any. */
function setFilters() {
  for (const key of runs.whole.keys) {
    const values = distinct(key);
    if (key === runs.x || key === runs.by) delete runs.filters[key];
    else if (!values.includes(runs.filters[key])) runs.filters[key] = values.includes("train") ? "train" : values[0];
  }
}

function showRuns() {
  const view = el("view-runs");
  const names = Object.keys(state.data.tables).filter((name) => state.data.tables[name]?.quantities.length);
  const long = Object.keys(state.data.tables).filter((name) => !state.data.tables[name]);
  const left = long.map((name) => make("p", { className: "quiet", textContent: `The table ${name} has ${shown(state.data.rows[name])} rows, too many for a page: ${state.data.files.tables.find((file) => file.endsWith(`/${name}.csv`))}` }));
  if (!names.length) { view.replaceChildren(...left); return; }
  if (!runs || !names.includes(runs.name) || runs.whole !== state.data.tables[runs.name]) startRuns(names[0]);
  view.replaceChildren(...runControls(names), make("div", { className: "panels wide" }), ...left);
  drawRuns();
}

function runControls(names) {
  const { whole } = runs;
  const again = (change) => (value) => { change(value); setFilters(); clear(); showRuns(); };
  const redraw = (change) => (value) => { change(value); clear(); drawRuns(); };
  const axes = [...whole.keys, ...whole.quantities];
  const colours = whole.keys.filter((key) => key !== runs.x && distinct(key).length <= MOST_SERIES);
  const seeds = whole.replicate ? distinct(whole.replicate) : [];
  const toggle = (set, value) => redraw((on) => set[on ? "add" : "delete"](value));
  return [
    make("div", { className: "controls" },
      select("Table", names, runs.name, (value) => { clear(); startRuns(value); showRuns(); }),
      select("x", axes, runs.x, again((value) => { runs.x = value; if (runs.by === value) runs.by = ""; runs.xScale = ""; })),
      select("a curve for each", [["", "quantity alone"], ...colours.map((key) => [key, readable(key)])], runs.by, again((value) => { runs.by = value; })),
      ...Object.entries(runs.filters).map(([key, value]) => select(readable(key), distinct(key).map((one) => [String(one), readable(one)]), String(value), redraw((text) => { runs.filters[key] = distinct(key).find((one) => String(one) === text); })))),
    choices("Quantities", whole.quantities.map((name) => checkbox(readable(name), runs.quantities.has(name), toggle(runs.quantities, name)))),
    seeds.length > 1 ? choices(`${readable(whole.replicate)}s shown as points`, seeds.map((seed) => checkbox(String(seed), !runs.hidden.has(seed), redraw((on) => runs.hidden[on ? "delete" : "add"](seed))))) : null,
    make("div", { className: "controls" },
      select("x axis", [["log", "logarithmic"], ["symlog", "logarithmic, with 0"], ["linear", "linear"]], xScaleOfRuns(), redraw((value) => { runs.xScale = value; })),
      select("y axis", [["log", "logarithmic"], ["linear", "linear"]], runs.yScale, redraw((value) => { runs.yScale = value; })),
      checkbox("each run", runs.points, redraw((on) => { runs.points = on; })),
      whole.means ? checkbox(`mean and 95 % interval over all ${shown(seeds.length)} ${whole.replicate}s`, runs.means, redraw((on) => { runs.means = on; })) : null,
      make("button", { type: "button", id: "csv-runs", textContent: "Download these numbers (CSV)", onclick: downloadRuns })),
  ].filter(Boolean);
}

function xScaleOfRuns() {
  const values = runs.whole.columns[runs.x].filter((value) => typeof value === "number");
  if (runs.xScale) return runs.xScale;
  if (!values.length || values.length < runs.whole.columns[runs.x].length) return "linear";
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (most < 50 && least <= 0) return "linear";
  return least > 0 ? "log" : least === 0 ? "symlog" : "linear";
}

function drawRuns() {
  const where = el("view-runs").querySelector(".panels");
  const panel = runsPanel();
  const scales = { x: panel.x.ticks ? "linear" : xScaleOfRuns(), y: runs.yScale };
  const one = plot(panel, scales, runs.means, crowded(panel.x) ? 540 : 430);
  where.replaceChildren(legend(panel), panel.series.length ? one.figure : make("p", { textContent: "Nothing is chosen." }));
  if (panel.series.length) one.draw();
}

function legend(panel) {
  const shownOnce = new Map([...panel.series].reverse().map((series) => [series.label, series]));
  return make("div", { className: "choices", id: "legend" }, ...[...shownOnce].reverse().map(([label, series]) => make("span", {}, swatch(series), ` ${label}`)));
}

/** The rows that are chosen, as the panel that the chart draws. */
function runsPanel() {
  const { whole, x } = runs;
  const names = typeof whole.columns[x][0] === "string" ? distinct(x) : null;
  const at = (value) => (names ? names.indexOf(value) : value);
  const ticks = names ? names.map((name, number) => [number, readable(name)]) : null;
  const quantities = whole.quantities.filter((name) => runs.quantities.has(name));
  const curves = (runs.by ? distinct(runs.by) : [null]).flatMap((value, group) => quantities.map((quantity, kind) => ({ value, quantity, group, kind })));
  const series = curves.flatMap(({ value, quantity, group, kind }) => {
    const label = [quantities.length > 1 || value === null ? readable(quantity) : "", value === null ? "" : `${readable(runs.by)} ${readable(value)}`].filter(Boolean).join(", ");
    const look = { label, ...(value === null || quantities.length === 1 ? lookOf(Math.max(group, kind), null) : lookOf(group, kind)) };
    return [...(runs.means && whole.keys.includes(x) ? meanSeries(look, quantity, value, at) : []), ...(runs.points ? pointSeries(look, quantity, value, at) : [])];
  });
  return {
    title: "", series, rules: [], boxes: [], rangeTitle: "95 % interval", moreTitle: whole.replicate ? readable(whole.replicate) : "",
    x: { label: readable(x), scale: "linear", ticks, reverse: false },
    y: { label: quantities.map(readable).join(", "), scale: "log", ticks: null, reverse: false },
  };
}

/** A colour for each curve, and where there are several quantities a mark and a stroke for each of these. */
function lookOf(curve, kind) {
  const again = Math.floor(curve / COLORS.length);
  return { color: COLORS[curve % COLORS.length], marker: MARKERS[(kind ?? curve) % MARKERS.length], dashed: ((kind ?? 0) + again) % 2 === 1 };
}

function matches(columns, row, value) {
  return Object.entries(runs.filters).every(([key, wanted]) => columns[key][row] === wanted) && (value === null || columns[runs.by][row] === value);
}

function meanSeries(look, quantity, value, at) {
  const { columns, quantities } = runs.whole.means;
  const rows = quantities[quantity].map((mean, row) => ({ mean, row })).filter(({ mean, row }) => mean && matches(columns, row, value));
  rows.sort((one, other) => at(columns[runs.x][one.row]) - at(columns[runs.x][other.row]));
  if (!rows.length) return [];
  const column = (index) => rows.map(({ mean }) => mean[index]);
  return [{ ...look, line: true, x: rows.map(({ row }) => at(columns[runs.x][row])), y: column(0), low: column(1), high: column(2), more: column(3).map((count) => `mean of ${count}`) }];
}

function pointSeries(look, quantity, value, at) {
  const { columns, replicate } = runs.whole;
  const rows = columns[quantity].map((_, row) => row).filter((row) => matches(columns, row, value) && columns[quantity][row] !== null && columns[runs.x][row] !== null && !(replicate && runs.hidden.has(columns[replicate][row])));
  if (!rows.length) return [];
  return [{ ...look, line: false, x: rows.map((row) => at(columns[runs.x][row])), y: rows.map((row) => columns[quantity][row]), hollow: rows.map((row) => runs.means || columns.stop_reason?.[row] === "epoch_cap"), more: rows.map((row) => (replicate ? columns[replicate][row] : "")) }];
}

function downloadRuns() {
  const panel = runsPanel();
  const name = (x) => panel.x.ticks?.[x]?.[1] ?? x;
  const rows = numbersOf(panel).map(([label, x, ...rest]) => [label, name(x), ...rest]);
  download(`${runs.name}-${state.scale}.csv`, ["series", runs.x, "value", "low", "high", runs.whole.replicate || "run"], rows);
}

// ---- facts, claims, picture ----------------------------------------------------------------------------------

function showFacts() {
  const { facts, departures, files } = state.data;
  el("view-facts").replaceChildren(
    make("p", { className: "quiet", textContent: `What is drawn or judged, as in ${files.facts}.` }),
    make("div", { className: "facts" }, ...branches(facts)),
    departures.length ? later(`Where the scale departs from the paper (${departures.length})`, () => make("div", { className: "facts" }, ...departures.flatMap(branches))) : "");
}

function branches(value) {
  const entries = Object.entries(value).map(([key, one]) => [readable(key), one]);
  const nested = (one) => one !== null && typeof one === "object" && !isRow(one);
  const leaves = entries.filter(([, one]) => !nested(one)).flatMap(([key, one]) => [make("dt", { textContent: key }), make("dd", { textContent: isRow(one) ? one.map(leaf).join(", ") : leaf(one) })]);
  return [leaves.length ? make("dl", {}, ...leaves) : "", ...entries.filter(([, one]) => nested(one)).map(([key, one]) => later(key, () => make("div", {}, ...branches(one))))];
}

function isRow(value) {
  return Array.isArray(value) && value.length <= 12 && value.every((one) => one === null || typeof one !== "object");
}

function leaf(value) {
  return value === null ? "none" : typeof value === "number" ? shown(value) : String(value);
}

function showClaims() {
  const claims = state.data.claims.map((one) => make("article", { className: "claim" },
    make("span", { className: "verdict", "data-verdict": one.verdict, textContent: one.verdict }),
    make("p", {}, make("strong", { textContent: `${one.claim}. ` }), one.statement),
    make("p", { className: "quiet", textContent: one.number }),
    later("Rule and source", () => make("p", { className: "quiet", textContent: [one.rule, one.reason, one.source].filter(Boolean).join(" — ") }))));
  el("claims").replaceChildren(make("h3", { id: "claims-title", textContent: "Claims judged by this figure" }),
    ...(state.scale === "smoke" ? [make("p", { className: "quiet", textContent: "Nets of the smoke scale are trained far too briefly: these verdicts mean nothing." })] : []),
    ...(claims.length ? claims : [make("p", { className: "quiet", textContent: "None, or the claims of this scale have not been judged yet." })]));
}

function showPicture() {
  const source = `data:image/webp;base64,${el(`picture-${state.scale}-${state.name}`).textContent}`;
  el("picture").replaceChildren(make("h3", { id: "picture-title", textContent: "As it is printed" }),
    make("img", { src: source, alt: `${state.data.paper}. ${state.data.caption}` }));
}

// ---- which figure --------------------------------------------------------------------------------------------

function names() {
  return [...new Set(INDEX.map((one) => one.name))];
}

function scalesOf(name) {
  return INDEX.filter((one) => one.name === name).map((one) => one.scale);
}

function fillFigures() {
  const groups = new Map();
  for (const one of INDEX) {
    if (!groups.has(one.source)) groups.set(one.source, new Map());
    groups.get(one.source).set(one.name, one.title);
  }
  el("figure").replaceChildren(...[...groups].map(([source, figures]) => make("optgroup", { label: source },
    ...[...figures.keys()].map((name) => option(name, readable(name))))));
}

async function show(name, scale, view) {
  const scales = scalesOf(name);
  const changed = name !== state.name || !scales.includes(scale) || scale !== state.scale;
  Object.assign(state, { name, scale: scales.includes(scale) ? scale : scales[0], view });
  if (changed) {
    Object.assign(drawn, { hidden: new Set(), x: "drawn", y: "drawn", ranges: true });
    runs = null;
    state.data = await unpack(`data-${state.scale}-${name}`);
  }
  el("figure").value = name;
  el("scale").replaceChildren(...scales.map((one) => option(one, one, one === state.scale)));
  el("about").replaceChildren(make("h2", { textContent: readable(name) }), make("p", { className: "quiet", textContent: state.data.paper }), make("p", { className: "caption", textContent: state.data.caption }));
  document.title = `${readable(name)} (${state.scale}): Lipschitz continuity of neural networks`;
  history.replaceState(null, "", `#${state.scale}/${name}/${view}`);
  showView();
  if (changed) { showClaims(); showPicture(); }
}

function showView() {
  clear();
  for (const view of VIEWS) {
    const chosen = view === state.view;
    el(`view-${view}`).hidden = !chosen;
    if (!chosen) el(`view-${view}`).replaceChildren();
    el(`tab-${view}`).setAttribute("aria-selected", String(chosen));
    el(`tab-${view}`).tabIndex = chosen ? 0 : -1;
  }
  ({ figure: showFigure, runs: showRuns, facts: showFacts })[state.view]();
  document.body.dataset.ready = `${state.scale}/${state.name}/${state.view}`;
}

function step(by) {
  const all = [...el("figure").options].map((one) => one.value);
  show(all[(all.indexOf(state.name) + by + all.length) % all.length], state.scale, state.view);
}

function fromAddress() {
  const [scale, name, view] = decodeURIComponent(location.hash.slice(1)).split("/");
  const known = names();
  const first = known.includes("double_descent") ? "double_descent" : known[0];
  show(known.includes(name) ? name : first, scale, VIEWS.includes(view) ? view : "figure");
}

function start() {
  fillFigures();
  el("choose").addEventListener("submit", (event) => event.preventDefault());
  el("figure").addEventListener("change", () => show(el("figure").value, state.scale, state.view));
  el("scale").addEventListener("change", () => show(state.name, el("scale").value, state.view));
  el("previous").addEventListener("click", () => step(-1));
  el("next").addEventListener("click", () => step(1));
  el("tabs").addEventListener("click", (event) => event.target.id.startsWith("tab-") && show(state.name, state.scale, event.target.id.slice(4)));
  el("tabs").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const view = VIEWS[(VIEWS.indexOf(state.view) + by + VIEWS.length) % VIEWS.length];
    show(state.name, state.scale, view).then(() => el(`tab-${view}`).focus());
  });
  DARK.addEventListener("change", showView);
  addEventListener("hashchange", fromAddress);
  fromAddress();
}

start();
