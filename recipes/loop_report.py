"""The one report of a loop, as a page: what each round was, what the guard said of it, and what came of all of them.

    write_loop_report(LoopReport("self_distill", rounds, evaluation, stopped="all 3 rounds are done"), run)
    show_loop(report)                     # the same in the terminal

Self-contained, for light and dark, wide and narrow: no scripts, no fonts, plots are in the page, nothing is loaded.
What a model wrote is hostile: every text is escaped, what a browser lays out or reorders is shown as its code, and
the page's own policy forbids what a browser could still be talked into.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path

from stillroom.recipes.loop_facts import (
    Cell,
    Column,
    LoopReport,
    RoundRow,
    between,
    columns,
    corrected_p,
    detectable,
    lines,
    metric_of,
    p_text,
    points,
    said,
    share,
    summary,
    verdict,
)
from stillroom.recipes.loop_show import show_loop
from stillroom.sampling.writing import replaced
from stillroom.students.evaluate.guard_checks import Check, measure_name
from stillroom.students.evaluate.results import MEAN_TOKENS, SHARE_STOPPED, Comparison, Evaluation
from stillroom.students.evaluate.round_points import number_of
from stillroom.students.html import html_page, safe

__all__ = ["LoopReport", "RoundRow", "show_loop", "write_loop_report"]

FILE = "report.html"
LONGEST = 4_000
"""Characters of a prompt or an answer that are shown."""
IMAGES = {".svg": "image/svg+xml", ".png": "image/png"}

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2125; --soft: #626c75; --line: #d9dee2; --paper: #fff; --row: #f6f8f9;
  --good: #0a6b2d; --good-bg: #e3f6e8; --bad: #a8201a; --bad-bg: #fde8e6; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #98a2ab; --line: #363d44; --paper: #15181b;
  --row: #1c2024; --good: #8fe3a8; --good-bg: #12351f; --bad: #ff9d96; --bad-bg: #431a18; --accent: #6cb8e6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .75rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
p { margin: .3rem 0; overflow-wrap: anywhere; } .soft, .limits { color: var(--soft); }
.lead { font-size: 1.05rem; } .lead p:first-child { font-weight: 600; }
.end { border-left: 3px solid var(--accent); padding: .1rem 0 .1rem 1rem; margin: 1rem 0; }
.end.bad { border-color: var(--bad); }
.wide { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { text-align: right; padding: .35rem .8rem; border-bottom: 1px solid var(--line); white-space: nowrap;
  vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: .2rem; position: sticky; left: 0;
  background: var(--paper); }
tbody th { font-weight: 400; } thead th { border-bottom-width: 2px; font-weight: 600; }
.text td, .text th { text-align: left; } .text td { white-space: normal; min-width: 7rem; }
.limits { display: block; font-size: .82em; font-weight: 400; }
.worse, .back { color: var(--bad); font-weight: 600; } .better { color: var(--good); font-weight: 600; }
td.worse { background: var(--bad-bg); }
.tag { display: inline-block; border-radius: 4px; padding: 0 .5rem; font-size: .85rem; font-weight: 600;
  background: var(--good-bg); color: var(--good); } .tag.back { background: var(--bad-bg); color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
ul { margin: .4rem 0; padding-left: 1.2rem; } li { margin: .15rem 0; overflow-wrap: anywhere; }
.plot { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0; }
.plot img { display: block; width: 100%; min-width: 34rem; height: auto; }
details { border: 1px solid var(--line); border-radius: 8px; margin: .5rem 0; padding: .5rem .9rem; }
summary { cursor: pointer; font-weight: 600; }
.said { color: var(--soft); font-size: .85rem; margin: .7rem 0 .15rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--row); border: 1px solid var(--line);
  border-radius: 6px; padding: .6rem .8rem; font: 13px/1.55 ui-monospace, monospace; margin: 0; }
@media (max-width: 40rem) { body { padding: 1.25rem .9rem 3rem; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .4rem; } th, td { padding: .3rem .55rem; }
  th:first-child, td:first-child { white-space: normal; }
  table { font-size: .92rem; } }
"""


def write_loop_report(report: LoopReport, folder: Path) -> Path:
    """Writes `report.html` into the folder, whole or not at all; gives its path. Raises RunError when the disk
    refuses."""
    path = folder / FILE
    with replaced(path) as file:
        file.write(loop_page(report).encode())
    return path


def loop_page(report: LoopReport) -> str:
    """The page, as HTML."""
    parts = [_head(report), _plots(report.plots), _rounds(report), _others(report.evaluation)]
    parts += [_comparisons(report.evaluation), _guards(report.rounds), _notes(report.evaluation)]
    parts += [_settings(report), _traces(report.rounds)]
    return html_page(report.name, _STYLE, "".join(parts))


def _said(sentence: str) -> str:
    """A sentence, in which no line ends between a number and its sign."""
    return safe(sentence).replace(" %", "&nbsp;%")


def _head(report: LoopReport) -> str:
    told = "".join(f"<p>{_said(sentence)}</p>" for sentence in summary(report))
    bad = " bad" if any(row.rolled_back for row in report.rounds) else ""
    end = f'<div class="end{bad}"><p><b>Why it ended:</b> {_said(report.stopped)}.</p></div>'
    return f'<h1>{safe(report.name)}: self-distillation, round by round</h1><div class="lead">{told}</div>{end}'


def _plots(plots: Iterable[Path]) -> str:
    return "".join(map(_plot, plots))


def _plot(path: Path) -> str:
    """In the page, as an image: nothing in it can run, and its ids meet no others."""
    kind = IMAGES.get(path.suffix.lower())
    if kind is None or not path.is_file():
        return f'<p class="soft">The plot {safe(path.name)} is not there.</p>'
    data = b64encode(path.read_bytes()).decode()
    return f'<div class="plot"><img alt="{safe(path.stem)}, as a plot" src="data:{kind};base64,{data}"></div>'


# -- tables ------------------------------------------------------------------------------------------------------


def _table(headers: Iterable[str], rows: Iterable[str], kind: str = "") -> str:
    """`headers` and `rows` are HTML."""
    head = "".join(f'<th scope="col">{header}</th>' for header in headers)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    look = f' class="{kind}"' if kind else ""
    return f'<div class="wide"><table{look}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _name(text: str) -> str:
    return f'<th scope="row">{safe(text)}</th>'


def _cell(cell: Cell) -> str:
    limits = f'<span class="limits">{safe(cell.limits)}</span>' if cell.limits else ""
    look = ' class="worse"' if cell.worse else ""
    return f"<td{look}>{safe(cell.text)}{limits}</td>"


def _rounds(report: LoopReport) -> str:
    headers = ["", *map(_column, columns(report))]
    rows = [_name(line.name) + "".join(map(_cell, line.cells)) for line in lines(report)]
    told = (
        "In brackets: 95 % intervals. Diversity is against the round before. Red: worse beyond the guard's tolerance."
    )
    return f'<h2>The rounds</h2>{_table(headers, rows)}<p class="soft">{told}</p>'


def _column(column: Column) -> str:
    sampler = column.row.sampler if column.row is not None else ""
    by = f'<span class="limits">{safe(sampler)}</span>' if sampler else ""
    return f"{safe(column.name)}{by}"


def _others(evaluation: Evaluation) -> str:
    """Controls and the first teacher."""
    whos = [who for who in evaluation.whos if number_of(who) is None]
    if not whos:
        return ""
    rows = [_name(said(who)) + "".join(map(_cell, _other(evaluation, who))) for who in whos]
    return f"<h2>Beside the rounds</h2>{_table(['', 'accuracy', 'stops by itself', 'tokens', 'n'], rows)}"


def _other(evaluation: Evaluation, who: str) -> Iterator[Cell]:
    accuracy, stops, tokens = (evaluation.find(who, m) for m in ("accuracy", SHARE_STOPPED, MEAN_TOKENS))
    yield share(accuracy) if accuracy else Cell()
    yield share(stops) if stops else Cell()
    yield Cell(f"{tokens.value:,.0f}") if tokens else Cell()
    yield Cell(f"{accuracy.n:,}") if accuracy else Cell()


def _comparisons(evaluation: Evaluation) -> str:
    if not evaluation.comparisons:
        return ""
    headers = ["", "difference", "", "p after Holm", "p", "n", "within reach"]
    told = (
        "Differences in points on the same tasks, with 95 % intervals. Shown is what stays below p = 0.05 when "
        "corrected for all of these comparisons (Holm). Within reach: the smallest difference that so many tasks "
        "could have shown."
    )
    table = _table(headers, map(_comparison, evaluation.comparisons))
    return f'<h2>Compared</h2>{table}<p class="soft">{told}</p>'


def _comparison(c: Comparison) -> str:
    of, reach, found = metric_of(c), detectable(c), verdict(c)
    names = f"{said(c.a)} − {said(c.b)}{f', on {said(of)}' if of else ''}"
    look = found if found in ("better", "worse") else "soft"
    cells = [
        Cell(p_text(corrected_p(c)).removeprefix("= ")),
        Cell(p_text(c.p).removeprefix("= ")),
        Cell(f"{c.n:,}"),
        Cell(f"{100 * reach:.1f}") if reach is not None else Cell(),
    ]
    change = _cell(Cell(points(c.difference), between(c.low, c.high)))
    return f'{_name(names)}{change}<td><span class="{look}">{found}</span></td>{"".join(map(_cell, cells))}'


# -- the guard ---------------------------------------------------------------------------------------------------


def _guards(rounds: Iterable[RoundRow]) -> str:
    told = (
        "Each round against the last that was kept. A measure is worse where the whole 95 % interval of its change "
        "lies beyond the tolerance: this is a guard against damage, no test of progress."
    )
    return f'<h2>What the guard said</h2><p class="soft">{told}</p>{"".join(map(_guard, rounds))}'


def _guard(row: RoundRow) -> str:
    back = " back" if row.rolled_back else ""
    title = f'<h3>Round {row.number} <span class="tag{back}">{safe(row.verdict)}</span></h3>'
    why = f'<p class="back">{_said(row.why)}</p>' if row.why and not any(c.worse for c in row.checks) else ""
    checks = "".join(map(_check, row.checks))
    left = "".join(
        f"<li class='soft'>{safe(measure_name(n))}: not checked, {safe(w)}</li>" for n, w in row.not_checked.items()
    )
    return f"{title}{why}<ul>{checks}{left}</ul>" if checks or left else title + why


def _check(check: Check) -> str:
    return f'<li class="back">{_said(check.sentence)}</li>' if check.worse else f"<li>{_said(check.sentence)}</li>"


# -- the rest ----------------------------------------------------------------------------------------------------


def _notes(evaluation: Evaluation) -> str:
    notes = "".join(f"<li>{safe(note)}</li>" for note in evaluation.notes)
    return f"<h2>What a reader must know</h2><ul>{notes}</ul>" if notes else ""


def _settings(report: LoopReport) -> str:
    told = "".join(f"<dt>{safe(key)}</dt><dd>{safe(text)}</dd>" for key, text in report.settings)
    return f"<h2>What was run</h2><dl>{told}</dl>" if told else ""


def _traces(rounds: Iterable[RoundRow]) -> str:
    found = "".join(map(_of_round, rounds))
    return f"<h2>A few traces</h2>{found}" if found else ""


def _of_round(row: RoundRow) -> str:
    if not row.traces:
        return ""
    by = f", sampled by {row.sampler}" if row.sampler else ""
    told = "".join(
        f'<p class="said">asked</p><pre>{_cut(prompt)}</pre><p class="said">answered</p><pre>{_cut(answer)}</pre>'
        for prompt, answer in row.traces
    )
    return f"<details><summary>{safe(f'Round {row.number}{by}')}</summary>{told}</details>"


def _cut(text: str) -> str:
    """Of a long text both ends."""
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]} […{len(text) - LONGEST:,} characters…] {text[-half:]}"
    return safe(text)
