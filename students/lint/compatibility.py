"""Teacher and student side by side, for training on a teacher's logits: the same tokens, under the same ids.

    lint_tokenizers("Qwen/Qwen3-8B", "Qwen/Qwen3-0.6B").raise_if_errors()

Loads tokenizers and settings, no weights. Compares vocabularies, how texts are split, and the width of logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.common.models.resolve import load_tokenizer
from stillroom.students.lint.findings import Hit, LintLimits, Tally, names
from stillroom.students.lint.report import LintReport
from stillroom.students.lint.tokenizer_setup import model_config, width

PROBES = (
    "The sum of 1,024 and 2.5 is 1026.5.",
    "\\frac{1}{2} \\times \\sqrt{x^2}",
    "def f(x):\n    return x  # done\n",
    "Grüße aus Köln, 東京より愛をこめて 🙂",
)
"""Texts of several kinds: two tokenizers with one vocabulary may still split them differently."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A model's tokenizer, and how many logits it gives (None: not known)."""

    name: str
    tokenizer: Any
    logits: int | None


def vocabulary_of(model: str) -> Vocabulary:
    """That of the model of a name. Raises MissingFile for a model that is nowhere."""
    return Vocabulary(model, load_tokenizer(model), width(model_config(model)))


def lint_tokenizers(
    teacher: str | Vocabulary, student: str | Vocabulary, *, probes: Sequence[str] = PROBES
) -> LintReport:
    """Compares the two, given by name or loaded. `probes`: texts that both split, real rows say."""
    theirs = vocabulary_of(teacher) if isinstance(teacher, str) else teacher
    own = vocabulary_of(student) if isinstance(student, str) else student
    limits, ids = LintLimits(), own.tokenizer.get_vocab()
    tally = Tally(limits.examples)
    tally.add(_other_ids(theirs.tokenizer.get_vocab(), ids))
    if not tally.count("other_tokenizer"):
        tally.add(_other_splits(theirs, own, probes))
    tally.add(_out_of_range(theirs, ids))
    if theirs.logits and own.logits and theirs.logits != own.logits:
        told = f"the teacher gives {theirs.logits:,} logits, the student {own.logits:,}, of {len(ids):,} tokens"
        tally.add([Hit("logits_width", theirs.name, told)])
    findings = tally.findings(lambda name: 1 if name == "logits_width" else len(ids))
    unknown = (
        {} if theirs.logits and own.logits else {"logits_width": "a model's settings do not say how many it gives"}
    )
    checked = tuple(name for name in names("teachers") if name not in unknown)
    return LintReport("tokens", len(ids), len(ids), tuple(findings), checked, unknown)


def _other_ids(theirs: dict[str, int], own: dict[str, int]) -> Iterator[Hit]:
    """Tokens of the student that the teacher has under another id, or not at all."""
    for token, i in sorted(own.items(), key=lambda item: item[1]):
        other = theirs.get(token)
        if other != i:
            told = "unknown to the teacher" if other is None else f"{other:,} for the teacher"
            yield Hit("other_tokenizer", repr(token), f"token {i:,} of the student is {told}")


def _other_splits(theirs: Vocabulary, own: Vocabulary, probes: Sequence[str]) -> Iterator[Hit]:
    """Texts that become other tokens."""
    for probe in probes:
        one, two = (v.tokenizer(probe, add_special_tokens=False)["input_ids"] for v in (theirs, own))
        if one != two:
            told = f"{len(one):,} tokens for the teacher, {len(two):,} for the student"
            yield Hit(
                "other_tokenizer", repr(probe[:40]), f"the same vocabulary, and a text is split otherwise: {told}"
            )


def _out_of_range(theirs: Vocabulary, own: dict[str, int]) -> Iterator[Hit]:
    """Ids of the student beyond the teacher's logits."""
    for token, i in sorted(own.items(), key=lambda item: item[1]):
        if theirs.logits is not None and i >= theirs.logits:
            yield Hit(
                "ids_out_of_range", repr(token), f"it is token {i:,}, the teacher gives {theirs.logits:,} logits"
            )
