r"""Layouts of problems with worked solutions, and of instructions: `gsm8k`, `math`, `numina`, `alpaca`.

{"question": "2 + 2?", "answer": "It is 4.\n#### 4"}                                   gsm8k
{"problem": "2 + 2?", "solution": "It is $\\boxed{4}$.", "level": "Level 1"}            math
{"source": "amc", "problem": "2 + 2?", "solution": "…", "answer": "4"}                  numina
{"instruction": "Add them up.", "input": "2 and 2", "output": "4"}                      alpaca
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stillroom.common.records import Message, Role, user, with_input
from stillroom.traces.tasks.layouts.base import (
    Laid,
    Layout,
    Names,
    layouts,
    missing_answer,
    prompt_in,
    reference_of,
    text_in,
)
from stillroom.traces.tasks.problems import BadRow, Problem

_BOX = re.compile(r"\\(?:boxed|fbox)\b")
_NUMINA = ("problem_type", "question_type", "synthetic", "messages")
_NO_ANSWER = {"proof", "notfound", "not found", "none", "n/a"}


@layouts.register(name="gsm8k")
class Gsm8k(Layout):
    """A question, and a solution whose last line is `#### answer`."""

    about = "`question`, and the answer after the last `####` of `answer`"
    over_fields = True

    def fits(self, values: Mapping[str, Any]) -> bool:
        lines = str(values.get("answer")).strip().split("\n")
        return isinstance(values.get("question"), str) and len(lines) > 1 and lines[-1].startswith("####")

    def read(self, values: Mapping[str, Any], names: Names) -> Laid:
        field = names.prompt or "question"
        prompt, text = prompt_in(values, field), reference_of(values, names, "answer")
        if text is None:
            return Laid(user(prompt), None, frozenset({field}))
        _, found, answer = text.rpartition("####")
        if not found or not answer.strip():
            raise BadRow(Problem.NO_REFERENCE_FOUND, f"nothing follows '####' in the answer: {text[-60:]!r}")
        return Laid(user(prompt), answer.strip(), frozenset({field}))


class _Boxed(Layout):
    def read(self, values: Mapping[str, Any], names: Names) -> Laid:
        field = names.prompt or "problem"
        prompt, own = prompt_in(values, field), text_in(values.get("answer"))
        if not names.answered or names.reference is not None:
            return Laid(user(prompt), reference_of(values, names), frozenset({field}))
        if own is not None and own.lower() not in _NO_ANSWER:
            return Laid(user(prompt), own, frozenset({field, "answer"}))
        if (boxed := _boxed(values)) is not None:
            return Laid(user(prompt), boxed, frozenset({field}))
        if own is not None:
            told = f"the answer is {own!r}, which nothing can be compared with, and the solution has no \\boxed{{}}"
            raise BadRow(Problem.NO_REFERENCE_FOUND, told)
        if text_in(values.get("solution")) is None:
            raise missing_answer("'answer'", "'solution'")
        raise BadRow(Problem.NO_REFERENCE_FOUND, "the field 'solution' has no \\boxed{}")


def _boxed(values: Mapping[str, Any]) -> str | None:
    from stillroom.traces.answers.extract import find_answer

    solution = values.get("solution")
    return find_answer(solution, gold=True) if isinstance(solution, str) and _BOX.search(solution) else None


@layouts.register(name="math")
class Math(_Boxed):
    r"""A problem with a solution that ends in a box, as in MATH."""

    about = "`problem`, and the answer in `answer` or in the last box of `solution`"

    def fits(self, values: Mapping[str, Any]) -> bool:
        return _is_problem(values) and not any(name in values for name in _NUMINA)


@layouts.register(name="numina")
class Numina(_Boxed):
    """As math, with where the problem is from; problems without an answer (proofs) are bad rows."""

    about = "`problem`, and the answer in `answer` or in the last box of `solution`, as NuminaMath has them"

    def fits(self, values: Mapping[str, Any]) -> bool:
        return _is_problem(values) and any(name in values for name in _NUMINA)


def _is_problem(values: Mapping[str, Any]) -> bool:
    solved = isinstance(values.get("solution"), str) or text_in(values.get("answer")) is not None
    return isinstance(values.get("problem"), str) and solved


@layouts.register(name="alpaca")
class Alpaca(Layout):
    """An instruction, what it is about, and an answer; also the turns before in `history`, and `system`."""

    about = "`instruction`, the text it is about in `input`, and `output`"

    def fits(self, values: Mapping[str, Any]) -> bool:
        texts = [values.get(name) for name in ("instruction", "output")]
        return all(isinstance(text, str) for text in texts) and isinstance(values.get("input"), str | None)

    def read(self, values: Mapping[str, Any], names: Names) -> Laid:
        field = names.prompt or "instruction"
        about = values.get("input")
        if not isinstance(about, str | None):
            raise BadRow(Problem.WRONG_TYPE, f"the field 'input' is {type(about).__name__}, not text")
        prompt = with_input(prompt_in(values, field), about or "")
        system = text_in(values.get("system"))
        before = (Message("system", system),) if system else ()
        turns = (*before, *_history(values.get("history")), *user(prompt))
        used = frozenset({field, "input", "output", *(("system",) if system else ()), "history"})
        return Laid(turns, reference_of(values, names, "output"), used)


def _history(pairs: Any) -> tuple[Message, ...]:
    """The turns before, as LLaMA-Factory keeps them: pairs of what was asked and answered. Raises BadRow."""
    pairs = pairs or []
    texts = [text for pair in pairs for text in pair] if all(isinstance(pair, list) for pair in pairs) else [None]
    if any(not isinstance(text, str) for text in texts) or any(len(pair) != 2 for pair in pairs):
        raise BadRow(Problem.WRONG_TYPE, "the field 'history' is not a list of pairs of a question and an answer")
    roles: tuple[Role, Role] = ("user", "assistant")
    return tuple(Message(roles[number % 2], str(text)) for number, text in enumerate(texts))
