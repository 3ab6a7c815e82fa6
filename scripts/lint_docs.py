"""Prints docs/lint.md: what the lint checks, and what each finding means, from the lint itself."""

from __future__ import annotations

import sys

from stillroom.students.lint.report import meanings

HEAD = """<!-- made by `make docs`; a test holds it to the program -->

# The lint before training

The lint finds faults that training would not report. Before every training it renders the rows exactly as the trainer
will see them, with the trainer's own collator and the student's chat template. An **error** stops the run; a
**warning** is kept in `lint.json`. `lint.html` shows rows with their loss mask in colour. To lint without training,
run `stillroom lint RECIPE` for a recipe whose run has written rows.
"""


def text() -> str:
    """The whole page."""
    return HEAD + _part("error", "Errors") + _part("warning", "Warnings")


def _part(severity: str, title: str) -> str:
    rows = [
        f"| `{name}` | {_cell(m.title)} | {_cell(m.ignored)} ({_cell(m.source)}) | {_cell(m.advice)} |"
        for name, m in meanings().items()
        if m.severity == severity
    ]
    head = "| finding | what is counted | if it is ignored | what to do |\n|---|---|---|---|"
    return f"\n## {title}\n\n{head}\n" + "\n".join(rows) + "\n"


def _cell(words: str) -> str:
    """A text that no `|` and no tag breaks out of its cell."""
    return words.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(text())
