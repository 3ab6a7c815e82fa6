"""The lint as a page: what was found, and a few rows with the loss mask in colour.

    (run / "lint.html").write_text(mask_page(report), encoding="utf-8")

Self-contained and safe for whatever a model wrote, as every page of `stillroom.students.html`.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from stillroom.students.html import html_page

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport


def mask_page(report: LintReport, title: str = "Lint before training") -> str:
    """The page, as HTML. `title`: what it is of, a run's name say."""
    skipped: dict[str, list[str]] = {}
    for name, why in report.skipped.items():
        skipped.setdefault(why, []).append(name)
    template = files("stillroom.students.lint").joinpath("page.html")
    return html_page(template, title, report=report, skipped=skipped)
