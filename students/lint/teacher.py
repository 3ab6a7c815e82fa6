"""What would go wrong between a student and the teacher whose distribution it learns, token by token.

    lint_tokenizers("runs/tutor/student/merged", "embedded:smollm2-135m-instruct").findings
    hits = answer_hits(row, ids, TeacherSide("the teacher", tokenizer, context=8192))

Loads tokenizers and settings, no weights. Whatever a template puts between prompt and answer moves the answer: the
teacher would say what comes next in a text that nobody wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.common.models.resolve import load_tokenizer
from stillroom.errors import TrainingError
from stillroom.students.data.encode import Ids, first_difference, ids_of, special_ids
from stillroom.students.data.rows import SftRow
from stillroom.students.lint.rendered_rows import model_config, width
from stillroom.students.lint.report import Hit, LintLimits, LintReport, Tally, names
from stillroom.students.whitebox.privileged import Privileged
from stillroom.students.whitebox.sides import config_of, context_of

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


NOTHING = Privileged()


@dataclass(frozen=True, slots=True)
class TeacherSide:
    """How a teacher reads rows. `context`: tokens it takes, None where not known; `shown`: what it sees besides."""

    vocabulary: Vocabulary
    context: int | None = None
    shown: Privileged = NOTHING


def teacher_side(name: str, shown: Privileged) -> TeacherSide:
    """By the name of a model, or of a folder with a tokenizer alone. Raises MissingFile for one that is nowhere."""
    config = config_of(name)
    logits = None if config is None else width(config)
    return TeacherSide(Vocabulary(name, load_tokenizer(name), logits), context_of(config), shown)


def token_hits(theirs: Vocabulary, own: Vocabulary, probes: Sequence[str] = PROBES) -> Iterator[Hit]:
    """Tokens that are not the same in both. `probes`: texts that both split."""
    ids, known, alike = own.tokenizer.get_vocab(), theirs.tokenizer.get_vocab(), True
    for token, i in sorted(ids.items(), key=lambda item: item[1]):
        if known.get(token) != i:
            alike = False
            told = f"{known[token]:,} for the teacher" if token in known else "unknown to the teacher"
            yield Hit("other_tokenizer", repr(token), f"token {i:,} of the student is {told}")
        if theirs.logits is not None and i >= theirs.logits:
            yield Hit(
                "ids_out_of_range", repr(token), f"it is token {i:,}, the teacher gives {theirs.logits:,} logits"
            )
    for probe in probes if alike else ():
        one, two = (v.tokenizer(probe, add_special_tokens=False)["input_ids"] for v in (theirs, own))
        if one != two:
            counts = f"{len(one):,} tokens for the teacher, {len(two):,} for the student"
            yield Hit("other_tokenizer", repr(probe[:40]), f"one vocabulary, and a text is split otherwise: {counts}")


def answer_hits(row: SftRow, own: Ids, teacher: TeacherSide) -> Iterator[Hit]:
    """Of one row. `own`: its tokens as the student is trained on them."""
    tokenizer = teacher.vocabulary.tokenizer
    try:
        ids = ids_of(row._replace(prompt=teacher.shown.prompt(row)), tokenizer, special_ids(tokenizer))
    except TrainingError as error:
        yield Hit("teacher_template", row.name, str(error).removeprefix(f"{row.name}: "))
        return
    if ids.answer[-1] != own.answer[-1]:
        theirs, ours = (repr(tokenizer.decode([side.answer[-1]])) for side in (ids, own))
        yield Hit(
            "teacher_ends_otherwise", row.name, f"the teacher ends the turn with {theirs}, the student with {ours}"
        )
    elif ids.answer != own.answer:
        at = first_difference(ids.answer, own.answer)
        theirs, ours = (repr(tokenizer.decode(side.answer[at : at + 8])) for side in (ids, own))
        told = f"at token {at + 1} of the answer the teacher's template has {theirs}, the student's {ours}"
        yield Hit("teacher_answer_shifted", row.name, told)
    tokens = len(ids.prompt) + len(own.answer)
    if teacher.context is not None and tokens > teacher.context:
        yield Hit(
            "teacher_too_long", row.name, f"{tokens:,} tokens as the teacher reads it, it takes {teacher.context:,}"
        )


def gradient_hits(name: str, own: Ids, moved: Sequence[int]) -> Iterator[Hit]:
    """Of one row, from the places whose prediction has a gradient (`whitebox.probe.moved`)."""
    first, last = len(own.prompt) - 1, len(own.prompt) + len(own.answer) - 2
    wanted, found = set(range(first, last + 1)), set(moved)
    for place in sorted(wanted - found):
        what = {first: "the first token", last: "the end token"}.get(place, f"token {place - first + 1}")
        yield Hit("no_gradient", name, f"no objective moves {what} of the answer")
        break
    for place in sorted(found - wanted):
        where = "behind the end" if place > last else "in the prompt"
        yield Hit("gradient_outside", name, f"place {place + 1} of {last + 2}, {where}, has a gradient")
        break


def lint_tokenizers(
    teacher: str | Vocabulary, student: str | Vocabulary, *, probes: Sequence[str] = PROBES
) -> LintReport:
    """Compares the two, given by name or loaded. `probes`: texts that both split, real rows say. Raises MissingFile
    for a model that is nowhere."""
    theirs, own = (
        Vocabulary(each, load_tokenizer(each), width(model_config(each))) if isinstance(each, str) else each
        for each in (teacher, student)
    )
    tally, tokens = Tally(LintLimits().examples), len(own.tokenizer.get_vocab())
    tally.add(token_hits(theirs, own, probes))
    findings = tally.findings(lambda name: tokens)
    return LintReport("tokens", tokens, tokens, tuple(findings), tuple(names("tokens_of_both")))
