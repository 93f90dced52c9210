"""The page of the gallery; `gallery.py` puts @DATA@, @COUNT@ and @MADE@ in."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ICHWeakSeg: quality control</title>
<style>
:root { color-scheme: light dark; --line: #8885; --soft: #8882; --mark: #b34700; --focus: #1a6fd6; }
@media (prefers-color-scheme: dark) { :root { --mark: #ffb000; --focus: #7db7ff; } }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.4 system-ui, sans-serif; background: Canvas; color: CanvasText; }
header, footer { padding: 12px 20px; }
h1 { font-size: 20px; margin: 0 0 4px; }
p { margin: 2px 0; }
.bar { position: sticky; top: 0; z-index: 2; background: Canvas; border-bottom: 1px solid var(--line);
  padding: 8px 20px; display: flex; flex-wrap: wrap; gap: 6px 10px; align-items: center; }
.bar fieldset { border: 0; padding: 0; margin: 0; display: flex; flex-wrap: wrap; gap: 6px; }
.bar legend { float: left; padding: 3px 6px 3px 0; }
.chip { border: 1px solid var(--line); border-radius: 14px; padding: 3px 10px; cursor: pointer;
  user-select: none; }
.chip input { margin: 0 5px 0 0; vertical-align: -1px; }
.chip:has(input:checked) { border-color: var(--focus); background: var(--soft); font-weight: 600; }
input[type=search] { font: inherit; padding: 4px 8px; width: 14em; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; position: sticky; top: var(--top, 48px); background: Canvas; z-index: 1;
  border-bottom: 2px solid var(--line); }
th button { font: inherit; font-weight: 600; background: none; border: 0; padding: 8px 10px; cursor: pointer;
  color: inherit; white-space: nowrap; }
th.number button { width: 100%; text-align: right; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
td { padding: 6px 10px; border-bottom: 1px solid var(--line); vertical-align: middle; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.picture { width: 112px; padding: 4px 8px 4px 20px; }
td.picture img, .none { display: block; width: 88px; height: 88px; background: #000; border-radius: 4px; }
.none { display: grid; place-items: center; color: #ddd; background: #444; font-size: 12px; }
.case { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
.flag { display: inline-block; border: 1px solid var(--mark); color: var(--mark); border-radius: 4px;
  padding: 0 6px; margin: 1px 4px 1px 0; font-size: 13px; white-space: nowrap; }
.flag.failed { background: #b00020; border-color: #b00020; color: #fff; }
.text { font-size: 13px; opacity: .85; max-width: 46em; }
.files a { margin-right: 8px; font-size: 13px; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 1px; }
@media print { .bar { position: static; } th { position: static; } }
</style>
</head>
<body>
<header>
<h1>Quality control of intracranial hemorrhage segmentations</h1>
<p><strong>For research use only. Not for diagnosis or treatment.</strong></p>
<p id="counts"></p>
</header>
<noscript><p style="padding:0 20px">This page needs JavaScript; results.csv has the same numbers.</p></noscript>
<div class="bar">
<label>Find <input type="search" id="find" placeholder="case, patient, words"></label>
<fieldset><legend>Show only</legend><span id="chips"></span></fieldset>
<span id="shown" role="status" aria-live="polite"></span>
</div>
<main>
<table>
<caption hidden>@COUNT@ cases; the buttons of the column heads sort.</caption>
<thead><tr id="heads"></tr></thead>
<tbody id="rows"></tbody>
</table>
<div id="end" style="height:1px"></div>
</main>
<footer><p>@MADE@</p><p>Summary of the cohort: <a href="summary.png">summary.png</a>, tables:
<a href="results.csv">results.csv</a>, <a href="lesions.csv">lesions.csv</a>, <a href="failed.csv">failed.csv</a>,
<a href="skipped.csv">skipped.csv</a>.</p></footer>
<script id="data" type="application/json">@DATA@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const CHUNK = 60;
const columns = [
  ["", null], ["case", "Case"], ["volume", "Blood (mL)", 1], ["lesions", "Lesions", 1],
  ["blood", "Slices with blood", 1], ["probability", "Highest probability", 1], ["flags", "Flags and warnings"]];
const order = Object.keys(data.flags);
let sort = {key: "", down: false}, wanted = new Set(), shown = [], drawn = 0;
const byId = id => document.getElementById(id);

function element(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  if (name) node.className = name;
  return node;
}
function value(row, key) {
  if (key === "flags") return row.flags.length ? row.flags.length * 100 - order.indexOf(row.flags[0]) : 0;
  return row[key];
}
function compare(a, b) {
  const one = value(a, sort.key), other = value(b, sort.key);
  if (one === null || other === null) return (one === null) - (other === null);
  const way = typeof one === "string" ? one.localeCompare(other, undefined, {numeric: true}) : one - other;
  return sort.down ? -way : way;
}
function choose() {
  const words = byId("find").value.toLowerCase().split(/\\s+/).filter(Boolean);
  shown = data.rows.filter(row => {
    for (const flag of wanted) if (!row.flags.includes(flag)) return false;
    if (!words.length) return true;
    const text = (row.case + " " + row.patient + " " + row.flags.join(" ") + " " + row.text).toLowerCase();
    return words.every(word => text.includes(word));
  });
  if (sort.key) shown.sort(compare);
  byId("rows").replaceChildren();
  drawn = 0;
  fill();
  byId("shown").textContent = shown.length + " of " + data.rows.length + " cases";
}
function link(text, href, label) {
  const node = element("a", text);
  node.href = href;
  if (label) node.setAttribute("aria-label", label);
  return node;
}
function draw(row) {
  const line = element("tr"), picture = element("td", null, "picture");
  const folder = data.cases + "/" + row.folder + "/";
  if (row.folder) {
    const image = element("img");
    image.loading = "lazy"; image.decoding = "async"; image.width = image.height = 88;
    image.src = folder + data.thumbnail;
    image.alt = row.volume > 0 ? "Slice with the most blood of case " + row.case
      : "Slice with the highest probability of case " + row.case;
    const open = link("", folder + data.preview, "Open the slices of case " + row.case);
    open.append(image);
    picture.append(open);
  } else picture.append(element("span", "no result", "none"));
  const name = element("td");
  name.append(element("div", row.case, "case"));
  if (row.patient) name.append(element("div", "patient " + row.patient, "text"));
  if (row.folder) {
    const files = element("div", null, "files");
    for (const [word, file] of Object.entries(data.files))
      files.append(link(word, folder + file, word + " of case " + row.case));
    name.append(files);
  }
  const flags = element("td");
  for (const flag of row.flags) {
    const mark = element("span", flag, "flag " + flag);
    mark.title = data.flags[flag] || "";
    flags.append(mark);
  }
  if (row.text) flags.append(element("div", row.text, "text"));
  const number = text => element("td", text, "number");
  const has = row.volume !== null;
  line.append(picture, name, number(has ? row.volume.toFixed(1) : ""), number(has ? row.lesions : ""),
    number(has ? row.blood + " of " + row.slices : ""), number(has ? row.probability.toFixed(2) : ""), flags);
  return line;
}
function more() {
  const part = document.createDocumentFragment();
  for (const row of shown.slice(drawn, drawn + CHUNK)) part.append(draw(row));
  drawn = Math.min(drawn + CHUNK, shown.length);
  byId("rows").append(part);
}
function fill() {
  // A tall window holds more than one part.
  while (drawn < shown.length && byId("end").getBoundingClientRect().top < innerHeight + 1500) more();
}
for (const [key, title, numeric] of columns) {
  const head = element("th", null, numeric ? "number" : "");
  head.scope = "col";
  if (title) {
    const button = element("button", title);
    button.type = "button";
    button.addEventListener("click", () => {
      sort = {key, down: sort.key === key ? !sort.down : Boolean(numeric) || key === "flags"};
      for (const other of byId("heads").children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      choose();
    });
    head.append(button);
  } else head.append(element("span", ""));
  byId("heads").append(head);
}
for (const flag of order) {
  const count = data.rows.filter(row => row.flags.includes(flag)).length;
  if (!count) continue;
  const chip = element("label", null, "chip"), box = element("input");
  box.type = "checkbox"; box.value = flag;
  box.addEventListener("change", () => { box.checked ? wanted.add(flag) : wanted.delete(flag); choose(); });
  chip.title = data.flags[flag];
  chip.append(box, flag + " (" + count + ")");
  byId("chips").append(chip, " ");
}
const done = data.rows.filter(row => row.volume !== null), blood = done.filter(row => row.volume > 0);
byId("counts").textContent = data.rows.length + " cases: " + blood.length + " with blood, "
  + (done.length - blood.length) + " without, " + (data.rows.length - done.length) + " failed.";
byId("find").addEventListener("input", choose);
new IntersectionObserver(fill, {rootMargin: "1500px"}).observe(byId("end"));
const bar = document.querySelector(".bar");
const heads = () => document.documentElement.style.setProperty("--top", bar.offsetHeight + "px");
new ResizeObserver(heads).observe(bar);
choose();
</script>
</body>
</html>
"""
