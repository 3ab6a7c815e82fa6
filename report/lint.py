"""The lint for a terminal and as a page: what was found, and a few rows with the loss mask in colour.

    terminal().print(lint_table(report), lint_masks(report))
    write_lint_page(report, run / "lint.html")

A model's text is hostile: what a terminal or a browser would obey is shown as its code.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from rich.console import Group
from rich.text import Text

from stillroom.common.files import readable, replaced, storable
from stillroom.common.printing import Table, columns, plain
from stillroom.report.html import html_page
from stillroom.students.lint.report import Kind, LintReport, MaskedRow


def write_lint_page(report: LintReport, path: Path, title: str = "Lint before training") -> None:
    """Writes the page. Raises RunError where it cannot be written."""
    with replaced(path) as file:
        file.write(storable(mask_page(report, title)).encode())


def mask_page(report: LintReport, title: str = "Lint before training") -> str:
    """The page, as HTML. `title`: what it is of, a run's name say."""
    skipped: dict[str, list[str]] = {}
    for name, why in report.skipped.items():
        skipped.setdefault(why, []).append(name)
    template = files("stillroom.report").joinpath("lint_page.html")
    return html_page(template, title, report=report, skipped=skipped)


STYLES: dict[Kind, str] = {"prompt": "dim", "loss": "green", "pad": "red"}


def lint_table(report: LintReport) -> Table:
    """What was found, what it does, what to do about it."""
    table = columns("", "", title=report.summary, title_justify="left", title_style="bold", show_header=False)
    for found in report.findings:
        colour = "red" if found.severity == "error" else "yellow"
        table.add_row(plain(found.severity, colour), plain(found.meaning.title, "bold"))
        for label, text in (
            ("found", found.told),
            ("seen", found.detail),
            ("if ignored", found.meaning.ignored),
            ("do", found.meaning.advice),
            ("source", found.meaning.source),
        ):
            table.add_row(plain(f"  {label}", "dim"), plain(text))
    for note in (*report.notes, *(f"not looked at: {name} ({why})" for name, why in report.skipped.items())):
        table.add_row(plain("note", "dim"), plain(note, "dim"))
    return table


def lint_masks(report: LintReport) -> Group:
    """A few rows with the mask in colour."""
    styles = {"not in the loss": "dim", "in the loss": "green", "padding": "red", "special": "bold"}
    legend = Text.assemble(*((f"{word}  ", style) for word, style in styles.items()))
    return Group(legend, *(mask_text(row) for row in report.shown))


def mask_text(row: MaskedRow) -> Text:
    """The row for a terminal."""
    text = Text(f"{readable(row.facts)}\n", style="")
    for stretch in row.stretches:
        style = STYLES[stretch.kind] + (" bold" if stretch.special else "")
        text.append(readable(stretch.text), style=style)
    return text
