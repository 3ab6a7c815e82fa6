"""The tics that the house style names are gone from everything a user or a contributor reads."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TICS = {
    "beside": "next to, in addition to, with",
    "of its own": "its own …, separate",
    "of their own": "their own …, separate",
    "anew": "again",
    "so many": "the number, or: that many",
    "says of": "says about",
    "said of": "said about",
    "where that": "if that",
    "in silence": "silently",
    "mends?": "fix, repair",
    "how far it is": "progress",
    "weighs?": "estimate",
    "at it": "name what runs",
    "whom": "who, or turn the sentence around",
    "likewise": "also",
    "read it so": "how to read it",
}
IS_NO = re.compile(
    r"(?<!there )\b(is|are) no "
    r"(?!more\b|longer\b|less\b|larger\b|smaller\b|worse\b|better\b|such\b|way\b|use\b|need\b|other\b|good\b|one\b)[a-z]+",
    re.IGNORECASE,
)


def pages() -> list[Path]:
    """Product code and documentation: not the tests, and no data."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    kept = [
        name
        for name in listed
        if name.endswith((".py", ".md", ".html")) and not name.startswith(("tests/", "bench/"))
    ]
    return [ROOT / name for name in kept if "data/" not in name or name.endswith(".py")]


@pytest.mark.parametrize("tic", TICS)
def test_a_tic_is_gone(tic: str) -> None:
    found = [
        f"{page.relative_to(ROOT)}:{number}: {line.strip()}"
        for page in pages()
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(rf"\b{tic}\b", line, re.IGNORECASE)
    ]
    assert found == [], f"write instead: {TICS[tic]}"


def test_what_is_not_something_is_said_so() -> None:
    found = [
        f"{page.relative_to(ROOT)}:{number}: {line.strip()}"
        for page in pages()
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if IS_NO.search(line)
    ]
    assert found == [], "write: is not a …"
