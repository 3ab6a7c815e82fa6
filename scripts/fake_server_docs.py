"""Writes the table of habits into docs/fake-server.md, under its last heading."""

from __future__ import annotations

from pathlib import Path

from stillroom.sampling.fake_server.serve import table

PAGE = Path(__file__).parents[1] / "docs" / "fake-server.md"
HEADING = "## Habits\n"


def text() -> str:
    """The whole page, with the table as the program has it."""
    head, found, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    if not found:
        raise SystemExit(f"{PAGE} has no line {HEADING.strip()!r}, under which the table goes")
    lines = "\n".join(table()).strip()
    return f"{head}{found}\n{lines}\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
