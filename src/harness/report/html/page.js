// Shows the outcomes. Everything is made when it is opened, never before; text of others is
// set as text.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const CHUNK = 200;
const OPEN_AT_ONCE = 60;
const FAILURES = new Set(["failed", "crashed", "hung"]);
const QUIET = new Set(["passed", "skipped", "stopped"]);
const VIEWS = { problems: "Problems", machines: "Machines", suites: "Suites", slowest: "Slowest", graph: "Graph" };

const rows = data.rows.map(([name, word, millis, emulator, phases, detail]) => ({
  name, word: data.words[word], millis, emulator: data.emulators[emulator], phases, detail,
  parts: null, text: null,
}));
const seen = new Set();
const twice = new Set();
for (const { name } of rows) (seen.has(name) ? twice : seen).add(name);
const present = data.words.filter((word) => rows.some((row) => row.word === word));
const order = new Intl.Collator("en", { numeric: true });
const at = (id) => document.getElementById(id);
const isLoud = (row) => !QUIET.has(row.word);
const first = rows.some(isLoud) ? "problems" : "machines";
if (first !== "problems") delete VIEWS.problems;
const many = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;

/** An element with a class, and text or other elements in it. */
function make(tag, name, ...content) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...content.filter((it) => it !== null && it !== undefined));
  return element;
}

function time(millis) {
  if (millis < 1000) return `${millis} ms`;
  if (millis < 60000) return `${(millis / 1000).toFixed(1)} s`;
  return `${Math.floor(millis / 60000)} min ${Math.round((millis % 60000) / 1000)} s`;
}

// What is chosen, kept behind the # of the address, so that it can be passed on.
const chosen = { view: first, query: "", hidden: new Set() };

function remember() {
  const hash = new URLSearchParams();
  if (chosen.view !== first) hash.set("view", chosen.view);
  if (chosen.query) hash.set("q", chosen.query);
  if (chosen.hidden.size) hash.set("hide", [...chosen.hidden].join(" "));
  const text = hash.toString();
  try { history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search); }
  catch { /* Some places allow no address of our own. */ }
}

function recall() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const view = hash.get("view");
  chosen.view = view !== null && Object.hasOwn(VIEWS, view) ? view : first;
  chosen.query = hash.get("q") ?? "";
  chosen.hidden = new Set((hash.get("hide") ?? "").split(" ").filter((it) => present.includes(it)));
}

/** The paths that are to be shown. */
function wanted(all) {
  const words = chosen.query.toLowerCase().split(/\s+/).filter(Boolean);
  return all.filter((row) => {
    if (chosen.hidden.has(row.word)) return false;
    if (!words.length) return true;
    row.text ??= `${row.name}\n${row.emulator}\n${row.detail?.message ?? ""}`.toLowerCase();
    return words.every((word) => row.text.includes(word));
  });
}

/** The parts of a path's name: machine, nodes between, suite, case. */
function parts(row) {
  if (row.parts) return row.parts;
  const names = row.name.replace(/^\//, "").split("/");
  const machine = names.splice(0, 2).join("/");
  let suite = names.findLastIndex((name) => name.endsWith("-tests"));
  if (suite < 0) suite = Math.max(names.length - 2, 0);
  const test = names.slice(suite + 1).join("/");
  row.parts = { machine, nodes: names.slice(0, suite), suite: names[suite] ?? "", test };
  return row.parts;
}

const KEYS = {
  machines(row) {
    const { machine, nodes, suite, test } = parts(row);
    return [machine, ...nodes, suite, test].filter(Boolean);
  },
  suites(row) {
    const { machine, nodes, suite, test } = parts(row);
    return [suite, test, [machine, ...nodes].join("/")].filter(Boolean);
  },
};

/** Paths as a tree by the parts of their keys. */
function grow(list, key) {
  const root = { label: "", rows: list, below: new Map(), own: [] };
  for (const row of list) {
    let node = root;
    const keys = key(row);
    keys.forEach((label, depth) => {
      if (depth === keys.length - 1) return node.own.push({ label, row });
      if (!node.below.has(label)) node.below.set(label, { label, rows: [], below: new Map(), own: [] });
      node = node.below.get(label);
      node.rows.push(row);
    });
  }
  return root;
}

/** Goes down as long as there is only one way, as nobody wants to open that step by step. */
function shorten(node) {
  let label = node.label;
  while (node.own.length === 0 && node.below.size === 1) {
    [node] = node.below.values();
    label += `/${node.label}`;
  }
  if (node.below.size === 0 && node.own.length === 1) {
    return { leaf: true, label: `${label}/${node.own[0].label}`, row: node.own[0].row };
  }
  return { label, node };
}

function share(list, name) {
  const bar = make("span", name);
  const counts = new Map();
  for (const { word } of list) counts.set(word, (counts.get(word) ?? 0) + 1);
  for (const word of data.words) {
    const count = counts.get(word);
    if (!count) continue;
    const part = make("i", word);
    part.style.flex = `${count} 1 0`;
    part.title = `${count} ${word}`;
    bar.append(part);
  }
  return bar;
}

/** Details that are filled when they are opened. */
function details(name, line, fill, open) {
  const element = make("details", name, line);
  let filled = false;
  const once = () => {
    if (filled || !element.open) return;
    filled = true;
    element.append(fill());
  };
  element.addEventListener("toggle", once);
  if (open) { element.open = true; once(); }
  return element;
}

function group({ label, node }, openings) {
  const bad = node.rows.filter((row) => FAILURES.has(row.word)).length;
  const tally = make("span", "tally", bad && bad < node.rows.length ? make("b", "", `${bad.toLocaleString("en")} of `) : null,
    make(bad === node.rows.length ? "b" : "span", "", node.rows.length.toLocaleString("en")));
  tally.title = bad ? `${bad} of ${many(node.rows.length, "path")} did not pass` : many(node.rows.length, "path");
  const millis = node.rows.reduce((sum, row) => sum + row.millis, 0);
  const line = make("summary", "line", make("span", "name", label), share(node.rows, "mini"), tally,
    make("span", "took", time(millis)));
  const fill = () => {
    const inner = make("div", "inner");
    branches(inner, node, openings);
    return inner;
  };
  return details("group", line, fill, openings(node));
}

/** Paths by what went wrong on them: numbers aside, the same message is the same problem. */
function problems(into, list) {
  const causes = new Map();
  for (const row of list) {
    const message = said(row) || row.word;
    const cause = `${row.word} ${message.replace(/0x[0-9a-f]+|\d+/gi, "0")}`;
    if (!causes.has(cause)) causes.set(cause, { label: message, rows: [], below: new Map(), own: [] });
    causes.get(cause).rows.push(row);
  }
  const worst = [...causes.values()].sort((a, b) => rank(a) - rank(b) || b.rows.length - a.rows.length);
  const few = list.length <= OPEN_AT_ONCE;
  fill(into, worst, (node) => {
    node.own = node.rows.map((row) => ({ label: row.name, row }));
    const element = group({ label: node.label, node }, () => few);
    element.classList.add("problem", node.rows[0].word);
    return element;
  });
}

/** On what it ran: the host first, then each emulator. */
function environment() {
  const list = make("dl", "");
  const say = ([term, what]) => list.append(make("dt", "", term), make("dd", "mono", what));
  data.environment.forEach(say);
  data.builds.forEach((facts, number) => {
    if (facts.length) say(["emulator", data.emulators[number]]);
    facts.forEach(say);
  });
  at("environment").append(list);
  at("environment").hidden = !list.children.length;
}

const rank = (node) => data.words.indexOf(node.rows[0].word);
const said = (row) => row.detail?.message?.split("\n")[0];

function branches(into, node, openings) {
  const items = [...node.own.map((own) => ({ leaf: true, ...own })), ...[...node.below.values()].map(shorten)];
  // Outcomes come in no order.
  items.sort((a, b) => order.compare(a.label, b.label));
  fill(into, items, (item) => (item.leaf ? path(item.row, item.label) : group(item, openings)));
}

/** Puts items in, so many at a time. */
function fill(into, items, show, from = 0) {
  into.append(...items.slice(from, from + CHUNK).map(show));
  const next = from + CHUNK;
  if (next >= items.length) return;
  const more = make("button", "more", `Show ${Math.min(CHUNK, items.length - next)} more of ${items.length - next}`);
  more.type = "button";
  more.addEventListener("click", () => {
    more.remove();
    const last = into.lastElementChild;
    fill(into, items, show, next);
    last?.nextElementSibling?.querySelector("summary")?.focus();
  });
  into.append(more);
}

/** One path. */
function path(row, label) {
  const name = make("span", "name", label);
  if (twice.has(row.name)) name.append(make("small", "", `  ${row.emulator}`));
  const line = make("summary", "line", name, make("span", "word", row.word), make("span", "took", time(row.millis)));
  if (said(row)) line.append(make("span", "said", said(row)));
  return details(`path ${row.word}`, line, () => body(row), false);
}

function command(text) {
  const button = make("button", "", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    const copied = await copy(text);
    button.textContent = copied ? "Copied" : "Cannot copy";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return make("div", "command", make("code", "", text), button);
}

async function copy(text) {
  try { await navigator.clipboard.writeText(text); return true; }
  catch { /* Not every browser lets a file from the disk do that. */ }
  const area = make("textarea", "");
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

/** A word as a shell takes it. */
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function body(row) {
  const { detail, phases } = row;
  const element = make("div", `body ${row.word}`);
  if (detail?.message) element.append(make("p", "message", detail.message));
  const list = make("dl", "");
  const say = (term, what, name) => { if (what) list.append(make("dt", "", term), make("dd", name ?? "", what)); };
  say("Path", row.name, "mono");
  say("Run again", command(`qgraph run --qemu ${quoted(row.emulator)} --exact ${quoted(row.name)}`));
  if (detail?.command) say("QEMU", command(detail.command));
  else say("Emulator", row.emulator, "mono");
  say("Replay", detail?.replay, "mono");
  say("Test", detail?.file, "mono");
  if (phases) {
    const parts = ["launch", "attach", "test", "leave"].map((phase, number) =>
      make("span", "", `${phase} `, make("b", "", time(phases[number]))));
    say("Time", make("span", "phases", ...parts));
  }
  element.append(list, ...evidence(detail));
  (detail?.attempts ?? []).forEach((attempt, number) => element.append(tried(attempt, number)));
  return element;
}

function evidence(it) {
  const found = [];
  const titles = { parts: "What the guest checked", diagnosis: "QEMU says of itself", console: "The guest wrote", transcript: "The last requests and answers", output: "QEMU wrote" };
  for (const [key, title] of Object.entries(titles)) {
    if (!it?.[key]) continue;
    const text = make("pre", "", it[key]);
    text.tabIndex = 0;
    found.push(make("h3", "", title), text);
  }
  if (it?.cut) found.push(make("p", "", "The page has no room for more requests, answers and output. Run it again to see them, or write the outcomes with --format json."));
  return found;
}

function tried(attempt, number) {
  const title = make("h3", "", `Attempt ${number + 1}: ${attempt.word} `, make("small", "", time(attempt.millis)));
  const element = make("div", `attempt ${attempt.word}`, title, make("p", "message", attempt.message));
  if (attempt.after.length) {
    const line = make("summary", "", `after ${many(attempt.after.length, "other path")} on the same QEMU`);
    element.append(details("", line, () => make("pre", "", attempt.after.join("\n")), attempt.after.length < 4));
  } else {
    element.append(make("p", "meta", "on a fresh QEMU"));
  }
  if (attempt.command) element.append(command(attempt.command));
  element.append(...evidence(attempt));
  return element;
}

/** A way to the paths that match and are no problem, where only problems are looked through. */
function elsewhere(all) {
  const others = all === rows ? 0 : wanted(rows).length;
  if (!others) return null;
  const button = make("button", "more", `${many(others, "path")} without a problem`);
  button.type = "button";
  button.addEventListener("click", () => { chosen.view = "machines"; show(); });
  return button;
}

/** Shows the list anew. */
function show() {
  remember();
  for (const button of at("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === chosen.view));
  for (const button of at("chips").children) button.setAttribute("aria-pressed", String(!chosen.hidden.has(button.dataset.word)));
  const inGraph = chosen.view === "graph";
  at("graph").hidden = !inGraph;
  at("list").hidden = at("shown").hidden = inGraph;
  if (inGraph) return draw();
  const all = chosen.view === "problems" ? rows.filter(isLoud) : rows;
  const list = wanted(all);
  const narrowed = list.length < all.length;
  const status = at("shown");
  const what = `${many(all.length, "path")}${all === rows ? "" : " to look at"}`;
  status.replaceChildren(narrowed ? `${list.length.toLocaleString("en")} of ${what} ` : what);
  if (narrowed) {
    const every = make("button", "", "show all");
    every.type = "button";
    every.addEventListener("click", () => { chosen.query = at("query").value = ""; chosen.hidden.clear(); show(); });
    status.append(every);
  }
  const element = make("div", "");
  if (!list.length) {
    element.append(make("p", "none", rows.length ? "No path matches." : "Nothing ran.", elsewhere(all)));
  } else if (chosen.view === "problems") {
    problems(element, list);
  } else if (chosen.view === "slowest") {
    const slowest = [...list].sort((a, b) => b.millis - a.millis);
    fill(element, slowest, (row) => path(row, row.name));
  } else {
    // Few paths are shown at once, and of many those that did not pass, if they are few.
    const loud = new Set(list.filter(isLoud));
    const openings = list.length <= OPEN_AT_ONCE ? () => true
      : loud.size <= OPEN_AT_ONCE ? (node) => node.rows.some((row) => loud.has(row)) : () => false;
    branches(element, grow(list, KEYS[chosen.view]), openings);
  }
  at("list").replaceChildren(element);
}

// The graph.
let zoom = 0;
function draw() {
  const canvas = at("canvas");
  const which = at("whole").checked ? "graph-whole" : "graph-ran";
  if (canvas.dataset.which !== which) {
    canvas.dataset.which = which;
    // Its style is for it alone.
    const holder = make("div", "");
    holder.attachShadow({ mode: "open" }).append(at(which).content.cloneNode(true));
    canvas.replaceChildren(holder);
    const svg = holder.shadowRoot.querySelector("svg");
    if (!svg) {
      canvas.replaceChildren(make("p", "none", "There is no graph of these paths."));
      return;
    }
    const legend = svg.querySelector("g");
    for (const box of svg.querySelectorAll(".machine, .driver, .interface, .test")) {
      if (legend.contains(box)) continue;
      box.setAttribute("tabindex", "0");
      box.setAttribute("role", "link");
      box.style.cursor = "pointer";
      box.addEventListener("click", (event) => choose(box, event.target));
      box.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(box, null); });
    }
  }
  size();
}

function choose(box, target) {
  const text = box.classList.contains("test") ? box.querySelector("text") : target?.closest("text") ?? box.querySelector("text");
  chosen.query = at("query").value = `/${text.textContent.trim()}`;
  chosen.view = "machines";
  show();
  at("query").focus();
}

function size() {
  const svg = at("canvas").firstElementChild?.shadowRoot?.querySelector("svg");
  if (!svg) return;
  const { width, height } = svg.viewBox.baseVal;
  const least = Math.min(1, (at("canvas").clientWidth - 2) / width);
  const scale = zoom === 0 ? least : zoom;
  svg.style.display = "block";
  svg.setAttribute("width", String(width * scale));
  svg.setAttribute("height", String(height * scale));
  return scale;
}

function begin() {
  const of = (words) => rows.filter((row) => words.has(row.word)).length;
  const bad = of(FAILURES);
  const notRun = data.left;
  const headline = bad ? `${bad.toLocaleString("en")} of ${many(data.total, "path")} did not pass`
    : notRun ? `${notRun.toLocaleString("en")} of ${many(data.total, "path")} did not run`
    : `All ${many(data.total, "path")} that ran went as they should`;
  at("headline").textContent = bad || notRun || of(new Set(["passed"])) < rows.length ? headline : `All ${many(data.total, "path")} passed`;
  const millis = rows.reduce((sum, row) => sum + row.millis, 0);
  at("meta").textContent = [
    new Date(data.written).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }),
    bad && notRun ? `${notRun.toLocaleString("en")} did not run` : null,
    many(new Set(rows.map((row) => parts(row).machine)).size, "machine"),
    many(data.emulators.length, "emulator"),
    `${time(millis)} of testing`,
    `qgraph ${data.version}`,
  ].filter(Boolean).join(" · ");
  environment();
  at("bar").append(...share(rows, "").children);

  for (const word of present) {
    const count = rows.filter((row) => row.word === word).length;
    const chip = make("button", word, make("b", "", count.toLocaleString("en")), word);
    chip.type = "button";
    chip.dataset.word = word;
    chip.title = "Hide or show; with Alt or a double click, show only these";
    const only = () => { chosen.hidden = new Set(present.filter((it) => it !== word)); show(); };
    chip.addEventListener("click", (event) => {
      if (event.altKey) return only();
      if (!chosen.hidden.delete(word)) chosen.hidden.add(word);
      show();
    });
    chip.addEventListener("dblclick", only);
    at("chips").append(chip);
  }
  for (const [view, title] of Object.entries(VIEWS)) {
    const button = make("button", "", title);
    button.type = "button";
    button.dataset.view = view;
    button.addEventListener("click", () => { chosen.view = view; show(); });
    at("views").append(button);
  }
  at("query").addEventListener("input", () => {
    chosen.query = at("query").value;
    if (chosen.view === "graph") chosen.view = "machines";
    show();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && event.target !== at("query")) {
      event.preventDefault();
      at("query").select();
      at("query").focus();
    } else if (event.key === "Escape" && event.target === at("query")) {
      chosen.query = at("query").value = "";
      show();
    }
  });
  at("whole").addEventListener("change", draw);
  at("whole").disabled = !at("graph-whole").content.firstElementChild;
  const step = (factor) => () => { zoom = Math.min(4, Math.max(0.1, (size() ?? 1) * factor)); size(); };
  at("smaller").addEventListener("click", step(1 / 1.25));
  at("larger").addEventListener("click", step(1.25));
  at("fit").addEventListener("click", () => { zoom = 0; size(); });
  addEventListener("resize", size);
  addEventListener("hashchange", () => { recall(); at("query").value = chosen.query; show(); });
  recall();
  at("query").value = chosen.query;
  show();
}

begin();
