"""Rows with their loss mask, to be looked at: in the terminal with colours, and as data for a page.

    for row in report.shown:
        Console().print(mask_text(row))       # prompt dim, loss green, special tokens bold, padding red

A model's text is hostile: what a terminal would obey is shown as its code, and long stretches are cut in the middle.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

from stillroom.sampling.writing import readable
from stillroom.students.encoding import IGNORED
from stillroom.students.lint.rendered_rows import Fed, Look
from stillroom.students.lint.tokenizer_setup import Student

if TYPE_CHECKING:
    from rich.text import Text

Kind = Literal["prompt", "loss", "pad"]
LONGEST = 1_200
"""Characters of one stretch that are shown."""
STYLES: dict[Kind, str] = {"prompt": "dim", "loss": "green", "pad": "red"}


class Stretch(NamedTuple):
    """Tokens in a row that are treated alike. `special`: they are special tokens. `tokens`: how many."""

    text: str
    kind: Kind
    special: bool
    tokens: int


class MaskedRow(NamedTuple):
    """One row of a batch as the model gets it."""

    name: str
    stretches: tuple[Stretch, ...]

    def count(self, kind: Kind) -> int:
        """Tokens of a kind."""
        return sum(stretch.tokens for stretch in self.stretches if stretch.kind == kind)

    @property
    def facts(self) -> str:
        """The row's name and its tokens, in words."""
        pad = self.count("pad")
        told = f"{self.name}: {self.count('prompt'):,} tokens not in the loss, {self.count('loss'):,} in it"
        return f"{told}, {pad:,} of padding" if pad else told


def masked(look: Look, student: Student) -> MaskedRow | None:
    """The row with its mask; None for one that never reached the collator."""
    if look.fed is None:
        return None
    marked = zip(look.fed.ids, _kinds(look.fed), strict=True)
    runs = groupby(((token, kind, token in student.special) for token, kind in marked), key=lambda each: each[1:])
    stretches = []
    for (kind, special), run in runs:
        ids = [token for token, _, _ in run]
        stretches.append(Stretch(_text(ids, kind, student), kind, special, len(ids)))
    return MaskedRow(look.name, tuple(stretches))


def _kinds(fed: Fed) -> list[Kind]:
    """A label counts wherever it stands; padding is what attention does not see."""
    return [
        "loss" if label != IGNORED else "prompt" if seen else "pad"
        for label, seen in zip(fed.labels, fed.mask, strict=True)
    ]


def _text(ids: list[int], kind: Kind, student: Student) -> str:
    """What the tokens say; of padding, which repeats, how many there are."""
    if kind == "pad" and len(set(ids)) == 1:
        return f"{student.tokenizer.decode(ids[:1])} × {len(ids):,}"
    text = str(student.tokenizer.decode(ids))
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]} […{len(text) - LONGEST:,} characters…] {text[-half:]}"


def mask_text(row: MaskedRow) -> Text:
    """The row for a terminal."""
    from rich.text import Text

    text = Text(f"{readable(row.facts)}\n", style="")
    for stretch in row.stretches:
        style = STYLES[stretch.kind] + (" bold" if stretch.special else "")
        text.append(readable(stretch.text), style=style)
    return text


def legend() -> Text:
    """What the colours mean."""
    from rich.text import Text

    text = Text()
    for word, style in (
        ("not in the loss", "dim"),
        ("in the loss", "green"),
        ("padding", "red"),
        ("special", "bold"),
    ):
        text.append(f"{word}  ", style=style)
    return text
