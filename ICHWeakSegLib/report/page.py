"""The page's frame and look; `html.py` fills it."""

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1a1c1f; --soft: #565b63; --line: #c9cdd3;
  --panel: #f4f5f7; --notice: #fff3d6; --notice-ink: #5c3d00; --focus: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #eceef1; --soft: #b4bac3; --line: #444a52;
  --panel: #1f2226; --notice: #3b2e0c; --notice-ink: #ffdf9a; --focus: #8ab4f8; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, "Segoe UI", Roboto,
  "DejaVu Sans", sans-serif; }
.skip { position: absolute; left: -999px; padding: 8px 14px; background: var(--paper); color: var(--focus); }
.skip:focus { left: 8px; top: 8px; z-index: 2; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
header, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 18px; }
h1 { font-size: 24px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 0 0 8px; }
h3 { font-size: 15px; margin: 10px 0 4px; }
p { margin: 0 0 6px; }
.notice { background: var(--notice); color: var(--notice-ink); padding: 6px 12px; border-radius: 6px;
  font-weight: 600; margin: 0 0 12px; }
.lead { font-size: 20px; font-weight: 600; margin: 4px 0 8px; }
section { margin: 20px 0 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 0 32px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(158px, 1fr)); gap: 10px; }
.views { grid-template-columns: repeat(2, 1fr); max-width: 560px; }
figure { margin: 0; }
.tiles figure { background: #000; color: #f1f3f5; border-radius: 6px; overflow: hidden; display: flex;
  flex-direction: column; }
.tiles .view { background: #0b0e12; }
.tiles img { display: block; width: 100%; flex: 1; min-height: 0; object-fit: contain; }
.tiles figcaption { padding: 4px 8px; font-size: 13px; }
.sides { position: relative; flex: 1; display: flex; }
.sides span { position: absolute; font-size: 12px; color: #9ed8ff; }
.sides span:nth-of-type(1) { left: 5px; top: 46%; }
.sides span:nth-of-type(2) { right: 5px; top: 46%; }
.sides span:nth-of-type(3) { left: 49%; top: 2px; }
.sides span:nth-of-type(4) { left: 49%; bottom: 2px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: 13px; padding: 0 0 4px; }
th, td { padding: 4px 8px; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { font-weight: 600; }
tbody th { font-weight: 400; }
.wide td { white-space: nowrap; }
thead th { border-bottom: 2px solid var(--line); }
th:first-child, td.words, th.words { text-align: left; }
tfoot th, tfoot td { font-weight: 600; border-bottom: 0; }
.facts { margin: 0; }
.facts div { display: grid; grid-template-columns: 200px 1fr; gap: 0 12px; padding: 3px 0;
  border-bottom: 1px solid var(--line); }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.curve svg { width: 100%; height: auto; color: var(--ink); display: block; }
.small { font-size: 13px; color: var(--soft); }
ul { margin: 0 0 6px; padding-left: 20px; }
summary { cursor: pointer; }
details > div { max-height: 320px; overflow: auto; margin-top: 6px; }
footer { margin-top: 24px; padding-bottom: 24px; }
@media print {
  @page { size: A4 portrait; margin: 9mm 10mm; }
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #333; --line: #999; --panel: #fff;
    --notice: #fff; --notice-ink: #000; }
  html, body { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { font-size: 7.5pt; line-height: 1.22; }
  header, main, footer { max-width: none; padding: 0; }
  .skip, details { display: none; }
  h1 { font-size: 13pt; }
  h2 { font-size: 9.5pt; margin-bottom: .6mm; }
  h3 { font-size: 8.5pt; margin: 1mm 0 .3mm; }
  p { margin-bottom: .7mm; }
  .lead { font-size: 11pt; margin: .5mm 0 1mm; }
  .notice { border: 1pt solid #000; padding: .6mm 2mm; margin-bottom: 1.5mm; }
  section { margin-top: 1.2mm; break-inside: avoid; }
  .pair { grid-template-columns: 1fr 1fr; gap: 0 6mm; }
  .tiles { gap: 1.2mm; }
  .slices { grid-template-columns: repeat(6, 1fr); }
  .maps { grid-template-columns: repeat(3, 1fr); }
  .views { grid-template-columns: 1fr 1fr; max-width: none; }
  .views img, .maps img { max-height: 32mm; }
  #result { position: absolute; left: -999px; }
  .two table, .two tbody, .two tr, .two th, .two td { display: inline; padding: 0; border: 0; }
  .two thead { display: none; }
  .two caption { display: block; padding: 0; }
  .two tbody th::after { content: ":\\00a0"; }
  .two td:nth-child(3):not(:empty)::before { content: "\\00a0("; }
  .two td:nth-child(3):not(:empty)::after { content: ")"; }
  .two tr::after { content: "; "; }
  .two tr:last-child::after { content: "."; }
  .facts { columns: 2; column-gap: 6mm; }
  .facts div { grid-template-columns: 30mm 1fr; gap: 0 2mm; padding: .2mm 0; break-inside: avoid; }
  .tiles figcaption { font-size: 6.3pt; padding: .4mm 1mm; }
  .sides span { font-size: 7pt; }
  th, td { padding: .12mm 1.2mm; }
  .slices img { max-height: 37mm; }
  caption, .small { font-size: 7pt; }
  .wide { overflow: visible; }
  .curve svg { max-height: 31mm; }
  .facts { font-size: 6.8pt; }
  .facts div { border-bottom-color: #ccc; }
  footer { margin-top: 2mm; padding: 0; }
  footer p + p { display: none; }
}
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="generator" content="@SOFTWARE@">
<title>@TITLE@</title>
<style>@STYLE@</style>
</head>
<body>
<a class="skip" href="#main">Skip to the result</a>
<header>
<p class="notice">@NOTICE@</p>
<h1>@TITLE@</h1>
@IDENTITY@
</header>
<main id="main" tabindex="-1">
@BODY@
</main>
<footer>
<p class="small">Volumes come from the CT's true geometry. A lesion is a connected piece of blood, numbered from
the largest. ABC/2: Kothari et al., Stroke 1996;27:1304. Slices are counted from 0 at the lowest; pictures are in
radiological view, the patient's right on the left.</p>
<p class="small">@NOTICE@</p>
</footer>
</body>
</html>
"""
