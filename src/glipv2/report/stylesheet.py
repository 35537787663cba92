"""The page's look and its few lines of script, kept as text so that the page needs no other file."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f5f6f8; --paper: #ffffff; --ink: #1b2128; --soft: #5a6572; --line: #e1e5ea; --accent: #2463c4;
  --bar: #9fbfee; --warn: #fff6dc; --warn-line: #ecd58a; --good: #8fcf9f; --bad: #f0a58a;
  --series-0: #2a6fdb; --series-1: #d9480f; --series-2: #2b8a3e; --series-3: #9c36b5;
  --series-4: #0b7285; --series-5: #c2255c; --series-6: #8f6b00; --series-7: #697483;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161b; --paper: #1a2027; --ink: #e6eaef; --soft: #9aa6b4; --line: #2d3640; --accent: #7fb0ff;
    --bar: #3a66a8; --warn: #2e2814; --warn-line: #6a5a1f; --good: #3d7f50; --bad: #a8563a;
    --series-0: #74a9ff; --series-1: #ff9e57; --series-2: #63d479; --series-3: #d98bf0;
    --series-4: #45cfe0; --series-5: #ff8fb5; --series-6: #e3c24a; --series-7: #a9b4c0;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; padding: 2.5rem 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
}
main, header, footer { max-width: 1120px; margin: 0 auto; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; letter-spacing: -.01em; margin: 2.8rem 0 .8rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.6rem 0 .6rem; overflow-wrap: anywhere; }
h4 { font-size: .95rem; font-weight: 500; margin: .4rem 0 .5rem; overflow-wrap: anywhere; }
h2 small, h3 small, h4 small { font-weight: 400; color: var(--soft); font-size: .85em; margin-left: .4em; }
h2 small { letter-spacing: 0; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--accent); }
.soft, figcaption, .facts { color: var(--soft); }
.facts {
  display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: 0; padding: 0; list-style: none; font-size: .92rem;
}
.facts li { overflow-wrap: anywhere; }
nav { margin-top: 1rem; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; font-size: .92rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.note {
  background: var(--warn); border: 1px solid var(--warn-line); border-radius: 8px; padding: .7rem 1rem;
  margin: 1.2rem 0 0; font-size: .92rem;
}
.note p { margin: .15rem 0; max-width: none; overflow-wrap: anywhere; }
.absent { color: var(--soft); font-style: italic; }
.cards {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(138px, 1fr)); gap: .75rem; margin: 0 0 .75rem;
}
.card {
  background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: .75rem .95rem .8rem;
  min-width: 0;
}
.card h3 { margin: 0; font-size: .84rem; font-weight: 500; color: var(--soft); }
.card .value {
  font-size: 1.5rem; font-weight: 600; line-height: 1.25; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; white-space: nowrap;
}
.card .beside { font-size: .84rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.card.hero { grid-column: span 2; }
.hero .pair { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.hero .value { font-size: 2.3rem; line-height: 1.15; }
.explained { font-size: .94rem; color: var(--soft); }
.explained b { color: var(--ink); font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: .75rem; }
.charts > svg, .sheet { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
.charts > svg { display: block; width: 100%; max-width: 660px; height: auto; padding: .8rem .9rem .6rem; }
svg.chart { font-family: inherit; font-variant-numeric: tabular-nums; }
.sheets {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: .75rem;
  align-items: start;
}
.sheet { max-height: 30rem; overflow: auto; }
.sheet.open { max-height: none; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .34rem .8rem; vertical-align: baseline; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
thead th {
  position: sticky; top: 0; background: var(--paper); box-shadow: 0 1px 0 var(--line); font-weight: 600;
  white-space: nowrap; padding-top: .5rem; padding-bottom: .5rem; z-index: 1;
}
tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 6.5rem; }
.many th, .many td { padding-left: .55rem; padding-right: .55rem; }
.many thead th { white-space: normal; vertical-align: bottom; }
.many .number { width: auto; }
.facts li:first-child { color: var(--ink); font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; width: 1%; }
td.bar { width: 45%; padding-left: 0; vertical-align: middle; }
td.bar i {
  display: block; height: .6rem; min-width: 1px; border-radius: 3px; background: var(--bar);
  print-color-adjust: exact; -webkit-print-color-adjust: exact;
}
td.bar i.good { background: var(--good); }
td.bar i.bad { background: var(--bad); }
td.bar.narrow { width: 16%; }
th.kind { width: 60%; }
th.kind small { display: block; color: var(--soft); font-size: .86em; }
table.matrix { width: auto; font-size: .84rem; }
table.matrix td { text-align: center; padding: .3rem .35rem; min-width: 2rem; font-variant-numeric: tabular-nums; }
table.matrix td.none { color: var(--soft); opacity: .5; }
table.matrix th.turned { height: 7.5rem; vertical-align: bottom; text-align: center; padding: .4rem .2rem; }
table.matrix th.turned span { writing-mode: vertical-rl; rotate: 180deg; font-weight: 400; white-space: nowrap; }
.sheets > svg { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
.sheets > svg { display: block; width: 100%; height: auto; padding: .8rem .9rem .6rem; }
.wide > svg {
  display: block; width: 100%; height: auto; background: var(--paper); border: 1px solid var(--line);
  border-radius: 10px; padding: .6rem;
}
svg.parallel path:hover { stroke: var(--ink) !important; stroke-opacity: 1 !important; }
.winner { display: flex; flex-wrap: wrap; gap: .75rem; margin-bottom: .75rem; align-items: stretch; }
.winner .hero { flex: 0 1 18rem; }
.winner .hero .beside { overflow-wrap: anywhere; }
.winner .again { flex: 1 1 24rem; min-width: 0; }
.winner h4 { margin-top: 0; }
pre.command {
  white-space: pre-wrap; overflow-wrap: anywhere; background: var(--paper); border: 1px solid var(--line);
  border-radius: 10px; padding: .7rem .9rem;
}
td.best { font-weight: 700; }
td.long { overflow-wrap: anywhere; min-width: 7rem; }
th button { all: unset; cursor: pointer; }
th button:hover { color: var(--accent); }
th button:focus-visible, figure button:focus-visible, summary:focus-visible, a:focus-visible, .sheet:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px;
}
th[aria-sort="ascending"] button::after { content: " \\2191"; color: var(--accent); }
th[aria-sort="descending"] button::after { content: " \\2193"; color: var(--accent); }
.pictures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr));
  gap: .9rem; align-items: start;
}
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); }
figure.wide { grid-column: 1 / -1; }
figure button { all: unset; display: block; cursor: zoom-in; }
figure.wide button { cursor: zoom-out; }
figure { margin: 0; background: var(--paper); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure img { display: block; width: 100%; height: auto; background: #fff; }
figcaption { padding: .45rem .75rem .55rem; font-size: .86rem; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); font-weight: 600; }
.said { color: var(--ink); }
.found { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem; margin: .35rem 0 .1rem; padding: 0; }
.found li {
  border: 1px solid var(--line); border-radius: 99px; padding: 0 .55rem; font-variant-numeric: tabular-nums;
}
.found li.more { border-color: transparent; padding-left: .1rem; }
details { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; margin: .75rem 0 0; }
details > summary { cursor: pointer; padding: .6rem .95rem; font-weight: 500; overflow-wrap: anywhere; }
details > summary small { color: var(--soft); font-weight: 400; margin-left: .3em; }
details > .inside { padding: 0 .95rem .8rem; }
details.run { background: none; border-color: var(--line); }
details.run > .inside > h2:first-child { margin-top: .8rem; }
details .sheet { border: 0; border-radius: 0; }
pre {
  margin: 0; overflow-x: auto;
  font: .84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
}
code {
  font: .92em ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere;
}
footer { margin-top: 3rem; font-size: .86rem; color: var(--soft); }
@media (max-width: 560px) {
  body { padding: 1.4rem .9rem 3rem; }
  h1 { font-size: 1.6rem; }
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .55rem; }
  th, td { padding-left: .6rem; padding-right: .6rem; }
}
@media print {
  :root { --ground: #fff; --paper: #fff; --ink: #000; --soft: #444; --line: #ccc; --bar: #9fbfee; }
  body { padding: 0; font-size: 11pt; }
  nav { display: none; }
  .sheet { max-height: none; overflow: visible; }
  thead th { position: static; }
  figure, .card, .charts > svg, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .charts { grid-template-columns: 1fr 1fr; }
  .pictures { grid-template-columns: 1fr 1fr; }
  pre { white-space: pre-wrap; }
}
"""

# Sorting by a click on a heading, enlarging by one on a picture; and printing shows what is folded away on the screen.
SCRIPT = """
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const heading = button.parentNode, body = heading.closest("table").tBodies[0], column = heading.cellIndex;
    const now = heading.getAttribute("aria-sort"), numeric = heading.classList.contains("number");
    const order = now ? (now === "ascending" ? "descending" : "ascending") : (numeric ? "descending" : "ascending");
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const key = (row) => numeric ? Number(row.cells[column].dataset.value) : row.cells[column].textContent;
    const compare = (a, b) => numeric ? key(a) - key(b) : key(a).localeCompare(key(b), undefined, {numeric: true});
    body.append(...[...body.rows].sort((a, b) => (order === "ascending" ? 1 : -1) * compare(a, b)));
  });
}
for (const button of document.querySelectorAll("figure button")) {
  button.addEventListener("click", () => button.parentNode.classList.toggle("wide"));
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
"""
