// The report's own script: tables that sort and filter, charts that are drawn when seen, and the drill-down to a trial's
// curve and examples. Every text of a results folder is set as text (textContent), never as markup.
"use strict";
(() => {
const byId = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const MOST_TOKENS = 700;      // of a text whose differences are coloured
const EXAMPLES_SHOWN = 20;    // of a list, before a reader asks for more

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((each) => each !== null && each !== undefined));
  return element;
}

// ---- data: JSON, compressed, in scripts that no browser runs
const opened = new Map();
function open(script) {
  if (!script) return Promise.resolve(null);
  if (!opened.has(script)) opened.set(script, (async () => {
    const bytes = Uint8Array.from(atob(script.textContent.trim()), (each) => each.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  })());
  return opened.get(script);
}
const data = (name) => open(byId("data-" + name));
const find = (name, key) => document.querySelector(`script[data-${name}="${CSS.escape(key)}"]`);

// ---- text: control characters and marks of direction become visible, so that a program cannot hide what it is
const visible = (text) => String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g,
  (each) => String.fromCharCode(each === "\u007f" ? 0x2421 : 0x2400 + each.charCodeAt(0)))
  .replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, (each) => `⟦U+${each.charCodeAt(0).toString(16).toUpperCase()}⟧`);
const short = (value) => typeof value === "number" && !Number.isInteger(value) ? String(+value.toPrecision(5)) : visible(value);

// ---- tables
for (const section of document.querySelectorAll("section.table")) {
  const body = section.querySelector("tbody"), rows = [...body.rows];
  const filter = section.querySelector("[data-filter]"), count = section.querySelector("[data-count]");
  const more = section.querySelector("[data-all]");
  let most = rows.filter((row) => !row.hidden).length;
  let order = rows;
  function show() {
    const words = (filter?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, fitting = 0;
    for (const row of order) {
      const fits = words.every((word) => row.textContent.toLowerCase().includes(word));
      fitting += fits;
      row.hidden = !fits || shown >= most;
      shown += !row.hidden;
    }
    if (count) count.textContent = words.length ? `${fitting} of ${rows.length} lines` : "";
  }
  filter?.addEventListener("input", show);
  more?.addEventListener("click", () => { most = rows.length; more.remove(); show(); });
  section.querySelectorAll("th button").forEach((button, place) => button.addEventListener("click", () => {
    const head = button.parentElement;
    const down = head.getAttribute("aria-sort") !== "descending";
    section.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => { const cell = row.cells[place]; return cell.dataset.v ?? cell.textContent.trim(); };
    order = [...rows].sort((one, other) => {
      const a = key(one), b = key(other);
      if (a === "" || b === "") return (a === "") - (b === "");   // what is missing stays below
      const compared = isFinite(a) && isFinite(b) ? a - b : a.localeCompare(b, undefined, {numeric: true});
      return down ? -compared : compared;
    });
    body.append(...order);
    show();
  }));
}

// ---- charts
let library;
const load = () => library ??= data("library").then((code) => { document.head.append(make("script", {textContent: code})); });
// The parts of a definition that give colours to names, and have a legend. In the page its names are in the part itself.
const coloured = (part) => !part || typeof part !== "object" ? [] : Object.entries(part).flatMap(([name, each]) =>
  name === "data" || name === "datasets" ? [] : name === "color" && each?.field && each.legend !== null &&
    (each.legend?.values ?? each.scale?.domain) ? [each] : coloured(each));
// A legend of Vega begins where the plot does, and what is right of the figure is cut. A narrow one is a list below.
function listed(names, colour) {
  return make("ul", {className: "legend"}, ...names.map((name) => {
    const spot = make("span", {className: "spot"});
    spot.style.background = colour(name);
    return make("li", {}, spot, visible(name));
  }));
}
async function draw(place, spec) {
  const [themes] = await Promise.all([data("themes"), load()]);
  const config = structuredClone(themes[dark.matches ? "dark" : "light"]);
  const width = place.clientWidth;
  const copy = structuredClone(spec);
  if (copy.width === undefined) {
    copy.width = "container";
    copy.autosize = {type: "fit-x", contains: "padding"};
  }
  config.legend.columns = Math.max(2, Math.floor(width / 125));
  let names = null;
  if (width < 480) {
    for (const part of coloured(copy)) {
      names ??= part.legend?.values ?? part.scale.domain;
      part.legend = null;
    }
    config.axis.labelLimit = 150;
    // Words behind the longest bar need more than their share of a narrow figure.
    if (JSON.stringify(spec).includes('"text":{"field":"text"')) copy.padding = {left: 5, top: 5, bottom: 5, right: 28};
  }
  const result = await window.vegaEmbed(place, copy, {config, renderer: "svg", mode: "vega-lite",
    actions: {export: true, source: false, compiled: false, editor: false}, tooltip: {theme: "custom"}});
  if (names) place.append(listed(names, result.view.scale("color")));
  result.view.addEventListener("click", (event, item) => {
    const trial = item?.datum?.id;
    if (trial) showTrial(trial, item.datum.other_id, item.datum.outcome);
  });
}
const places = [...document.querySelectorAll("[data-figure]")];
const drawn = new Set();
async function drawPlace(place) {
  drawn.add(place);
  try {
    await draw(place, (await data("specs"))[place.dataset.figure]);
  } catch (error) {
    place.textContent = `This figure could not be drawn: ${error.message}`;
    console.error(error);
  }
}
const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
  if (entry.isIntersecting && !drawn.has(entry.target)) drawPlace(entry.target);
}), {rootMargin: "400px"});
places.forEach((place) => seen.observe(place));
dark.addEventListener("change", () => drawn.forEach(drawPlace));
let width = innerWidth, later;
addEventListener("resize", () => {
  clearTimeout(later);
  later = setTimeout(() => { if (innerWidth !== width) { width = innerWidth; drawn.forEach(drawPlace); } }, 250);
});
addEventListener("beforeprint", () => places.filter((place) => !drawn.has(place)).forEach(drawPlace));

// ---- one trial
const dialog = byId("trial");
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-trial]");
  if (button) showTrial(button.dataset.trial);
});

async function showTrial(id, other, outcome) {
  const all = await data("trials");
  if (!all.rows[id]) return;
  const row = {...all.shared};
  all.columns.forEach((name, place) => { row[name] = all.rows[id][place]; });
  const close = make("button", {type: "button", className: "close", textContent: "close"});
  close.addEventListener("click", () => dialog.close());
  const curve = make("div"), examples = make("div", {className: "examples"});
  const facts = make("dl");
  const list = (words) => facts.replaceChildren(...Object.entries(row)
    .filter(([name, value]) => value !== null && value !== undefined && `${name} ${value}`.toLowerCase().includes(words))
    .map(([name, value]) => make("div", {}, make("dt", {textContent: name}), make("dd", {textContent: short(value)}))));
  const filter = make("input", {type: "search", placeholder: "a column or a value"});
  filter.addEventListener("input", () => list(filter.value.toLowerCase()));
  list("");
  const body = make("div", {},
    row.error ? make("pre", {textContent: visible(row.error)}) : null, curve, examples,
    make("h3", {textContent: "All columns"}), make("div", {className: "controls"}, make("label", {}, "filter ", filter)), facts);
  dialog.replaceChildren(make("div", {className: "top"},
    make("h2", {id: "trial-name"}, visible(all.labels[id] ?? id), " ", make("span", {className: "state", textContent: id})), close), body);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  history.replaceState(null, "", "#trial=" + encodeURIComponent(id));
  await Promise.all([showCurve(curve, id, row), showExamples(examples, id, other, outcome, all)]);
}

async function showCurve(place, id, row) {
  const steps = (await data("evaluations"))?.[id];
  if (!steps || steps.length < 2) return;
  const values = steps.flatMap(([step, epoch, training, validation]) => [
    {step, epoch, loss: "training", value: training, best: false},
    {step, epoch, loss: "validation", value: validation, best: step === row.best_step}]).filter((each) => each.value !== null);
  const chart = make("div", {className: "chart"});
  place.append(make("h3", {textContent: "Learning curve"}), chart);
  const x = {field: "epoch", type: "quantitative"}, y = {field: "value", type: "quantitative", scale: {zero: false}, title: "loss, nats per answer token"};
  const color = {field: "loss", type: "nominal", title: null, scale: {domain: ["validation", "training"]}};
  const tooltip = ["loss", "value", "step", "epoch"].map((field) => ({field}));
  await draw(chart, {height: 190, data: {values}, layer: [
    {mark: {type: "line", point: false}, encoding: {x, y, color, tooltip}},
    {transform: [{filter: "datum.best"}], mark: {type: "point", size: 90}, encoding: {x, y, color, tooltip}}]});
}

// ---- examples
const VIEWS = {all: () => true, "first right": (a) => a[0]?.[1], "some right": (a) => right(a), "none right": (a) => !right(a)};
const PAIRS = {"both right": (a, b) => right(a) && right(b), "this right, other wrong": (a, b) => right(a) && !right(b),
  "this wrong, other right": (a, b) => !right(a) && right(b), "neither right": (a, b) => !right(a) && !right(b)};
const OUTCOMES = {"both right": "both right", "only the first": "this right, other wrong",
  "only the second": "this wrong, other right", neither: "neither right"};
const right = (answers) => answers.some((each) => each[1]);

async function showExamples(place, id, other, outcome, all) {
  const script = find("answers", id);
  if (!script) {
    place.append(make("h3", {textContent: "Examples"}), make("p", {className: "caption",
      textContent: "This page has no answers of this trial: its folder has none, or they were left out."}));
    return;
  }
  const mine = await open(script), task = await open(find("task", mine.task));
  const rivals = [];
  for (const each of document.querySelectorAll("script[data-answers]")) {
    if (each !== script) rivals.push(each.dataset.answers);
  }
  const against = make("select", {}, make("option", {value: "", textContent: "no other trial"}),
    ...rivals.map((each) => make("option", {value: each, textContent: visible(`${all.labels[each] ?? ""} ${each}`)})));
  against.value = other && rivals.includes(other) ? other : "";
  const view = make("select"), search = make("input", {type: "search", placeholder: "in instruction, reference, answers"});
  const count = make("span"), list = make("div");
  let theirs = null;
  async function choose() {
    const found = against.value ? await open(find("answers", against.value)) : null;
    theirs = found && found.task === mine.task ? found.answers : null;
    const names = [...Object.keys(VIEWS), ...(theirs ? Object.keys(PAIRS) : [])], before = view.value;
    view.replaceChildren(...names.map((name) => make("option", {value: name, textContent: name})));
    view.value = names.includes(before) ? before : "all";
    if (found && !theirs) count.textContent = "the other trial answered other examples";
  }
  function fill() {
    const keep = VIEWS[view.value] ?? PAIRS[view.value], words = search.value.toLowerCase();
    const fitting = task.map((_, index) => index).filter((index) => keep(mine.answers[index], theirs?.[index]) && (!words ||
      [task[index].join(" "), ...mine.answers[index].map((each) => each[0])].some((text) => text.toLowerCase().includes(words))));
    count.textContent = `${fitting.length} of ${task.length} examples`;
    list.replaceChildren();
    const more = make("button", {type: "button", className: "plain"});
    let shown = 0;
    function next() {
      for (const index of fitting.slice(shown, shown + EXAMPLES_SHOWN)) list.append(example(task[index], mine.answers[index], theirs?.[index], mine.shots?.[index]));
      shown += EXAMPLES_SHOWN;
      more.remove();
      if (shown < fitting.length) { more.textContent = `${fitting.length - shown} more`; list.append(more); }
    }
    more.addEventListener("click", next);
    next();
    const first = list.querySelector("details");
    if (first) first.open = true;
  }
  against.addEventListener("change", async () => { await choose(); fill(); });
  view.addEventListener("change", fill);
  search.addEventListener("input", fill);
  await choose();
  if (theirs && OUTCOMES[outcome]) view.value = OUTCOMES[outcome];
  fill();
  place.append(make("h3", {textContent: "Examples"}), make("div", {className: "controls"}, make("label", {}, "show ", view),
    make("label", {}, "beside ", against), make("label", {}, "search ", search), count), list);
}

const verdict = (isRight) => make("span", {className: "verdict " + (isRight ? "right" : "wrong"), textContent: isRight ? "right" : "wrong"});

function example([id, instruction, reference], mine, theirs, shots) {
  const line = instruction || reference || mine[0]?.[0] || "";
  const details = make("details", {className: "example"}, make("summary", {}, verdict(right(mine)), theirs ? verdict(right(theirs)) : null,
    make("span", {className: "words", textContent: visible(line).slice(0, 200)}), make("span", {className: "state", textContent: id})));
  details.addEventListener("toggle", () => {
    if (!details.open || details.dataset.filled) return;
    details.dataset.filled = "yes";
    if (instruction) details.append(make("div", {className: "label", textContent: "instruction"}), make("pre", {textContent: visible(instruction)}));
    if (shots?.length) details.append(make("div", {className: "label shots", textContent:
      `${shots.length} ${shots.length === 1 ? "shot" : "shots"} in the prompt, in order: ${shots.map(visible).join(", ")}`}));
    details.append(make("div", {className: "label", textContent: "reference"}),
      make("pre", {textContent: reference ? visible(reference) : "not in this results folder"}));
    details.append(make("div", {className: "sides"}, candidates("this trial", mine, reference), theirs ? candidates("the other trial", theirs, reference) : null));
  });
  return details;
}

function candidates(title, answers, reference) {
  const column = make("div", {}, make("div", {className: "label"}, `candidates of ${title}`));
  if (reference && answers.some((each) => !each[1])) column.firstChild.append(" (in wrong ones ",
    make("span", {className: "added", textContent: "what the reference has not"}), " and ", make("span", {className: "missing", textContent: "what only it has"}), ")");
  answers.forEach(([text, isRight, probability, note, tests], rank) => {
    const known = [`${rank + 1}`, probability !== null ? `log-probability ${probability}` : "", note].filter(Boolean).map(visible).join(" · ");
    const body = make("pre");
    body.append(...(isRight || !reference ? [visible(text)] : difference(reference, text)));
    column.append(make("div", {className: "label"}, known + " ", verdict(isRight)), body);
    if (tests) column.append(make("details", {className: "tests", open: !isRight && rank === 0},
      make("summary", {textContent: "each test"}), make("pre", {textContent: visible(tests)})));
  });
  return column;
}

// The longest common subsequence of words: what only the candidate has is <ins>, what only the reference has is <del>.
function difference(reference, text) {
  const cut = (each) => visible(each).match(/\s+|\w+|[^\w\s]/gu) ?? [];
  const a = cut(reference), b = cut(text);
  if (a.length > MOST_TOKENS || b.length > MOST_TOKENS) return [visible(text)];
  const table = Array.from({length: a.length + 1}, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--)
    table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
  const parts = [];
  const add = (tag, token) => {
    const last = parts.at(-1);
    if (last?.tag === tag) last.text += token; else parts.push({tag, text: token});
  };
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { add("", a[i]); i++; j++; }
    else if (j < b.length && (i === a.length || table[i][j + 1] >= table[i + 1][j])) add("ins", b[j++]);
    else add("del", a[i++]);
  }
  return parts.map((part) => part.tag ? make(part.tag, {textContent: part.text}) : part.text);
}

if (location.hash.startsWith("#trial=")) showTrial(decodeURIComponent(location.hash.slice(7)));
})();
