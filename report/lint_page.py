"""The lint as a page: what was found, and a few rows with the loss mask in colour.

    write_lint_page(report, run / "lint.html")

Self-contained and safe for whatever a model wrote, as every page of `stillroom.report.html`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from stillroom.common.files import replaced, storable
from stillroom.report.html import html_page
from stillroom.students.lint.report import LintReport


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
