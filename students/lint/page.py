"""The lint as a page: what was found, and a few rows with the loss mask in colour.

    (run / "lint.html").write_text(mask_page(report), encoding="utf-8")

Self-contained, for light and dark: no scripts, no fonts, nothing is loaded. Every text is escaped, and the page's own
policy forbids what a browser could still be talked into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stillroom.students.html import html_page, safe
from stillroom.students.lint.masks import MaskedRow, Stretch

if TYPE_CHECKING:
    from stillroom.students.lint.findings import Finding
    from stillroom.students.lint.report import LintReport

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2125; --soft: #667078; --line: #d9dee2; --paper: #fff; --row: #f6f8f9;
  --loss: #0a6b2d; --loss-bg: #dcf5e3; --pad: #a8201a; --pad-bg: #fde4e2; --error: #a8201a; --warning: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #98a2ab; --line: #363d44; --paper: #15181b;
  --row: #1c2024; --loss: #8fe3a8; --loss-bg: #12351f; --pad: #ff9d96; --pad-bg: #431a18; --error: #ff9d96;
  --warning: #f0c060; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; }
p { margin: .25rem 0; } .soft { color: var(--soft); }
article { border-left: 3px solid var(--line); padding: .1rem 0 .1rem 1rem; margin: 1rem 0; }
article.error { border-color: var(--error); } article.warning { border-color: var(--warning); }
.error > h3 > b { color: var(--error); } .warning > h3 > b { color: var(--warning); }
h3 { font-size: 1rem; font-weight: 600; margin: 0 0 .25rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: .3rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--row); border: 1px solid var(--line);
  border-radius: 6px; padding: .8rem 1rem; font: 13px/1.6 ui-monospace, monospace; margin: .3rem 0 1.2rem; }
.prompt { color: var(--soft); } .loss { color: var(--loss); background: var(--loss-bg); }
.pad { color: var(--pad); background: var(--pad-bg); } .special { font-weight: 700; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem .5rem; margin-bottom: 1rem; }
.legend span { padding: .1rem .5rem; border-radius: 4px; }
.legend .prompt, .legend .special { background: var(--row); }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .3rem; } }
"""
_LEGEND = (
    '<p class="legend"><span class="prompt">not in the loss</span><span class="loss">in the loss</span>'
    '<span class="pad">padding</span><span class="special">special token</span></p>'
)


def mask_page(report: LintReport, title: str = "Lint before training") -> str:
    """The page, as HTML. `title`: what it is of, a run's name say."""
    found = "".join(map(_finding, report.findings))
    rows = "".join(map(_row, report.shown))
    parts = [
        f"<h1>{safe(title)}</h1><p>{safe(report.summary)}</p>",
        "".join(f'<p class="soft">{safe(note)}</p>' for note in report.notes),
        f"<h2>What was found</h2>{found}" if found else "",
        f"<h2>Rows as they are trained</h2>{_LEGEND}{rows}" if rows else "",
        _checked(report),
    ]
    return html_page(title, _STYLE, "".join(parts))


def _finding(found: Finding) -> str:
    meaning = found.meaning
    facts = {
        "found": found.told,
        "seen": found.detail,
        "if ignored": meaning.ignored,
        "what to do": meaning.advice,
        "source": meaning.source,
    }
    told = "".join(f"<dt>{name}</dt><dd>{safe(text)}</dd>" for name, text in facts.items() if text)
    title = f"<h3><b>{found.severity}</b> {safe(meaning.title)}</h3>"
    return f'<article class="{found.severity}">{title}<dl>{told}</dl></article>'


def _row(row: MaskedRow) -> str:
    return f'<p class="soft">{safe(row.facts)}</p><pre>{"".join(map(_stretch, row.stretches))}</pre>'


def _stretch(stretch: Stretch) -> str:
    special = " special" if stretch.special else ""
    title = f"{stretch.tokens:,} tokens"
    return f'<span class="{stretch.kind}{special}" title="{title}">{safe(stretch.text)}</span>'


def _checked(report: LintReport) -> str:
    looked = f"<p>{len(report.checked)} checks: {safe(', '.join(report.checked))}.</p>"
    whys: dict[str, list[str]] = {}
    for name, why in report.skipped.items():
        whys.setdefault(why, []).append(name)
    skipped = "".join(f"<p>Not looked at: {safe(', '.join(n))} ({safe(why)}).</p>" for why, n in whys.items())
    return f'<h2>What was looked at</h2><div class="soft">{looked}{skipped}</div>'
