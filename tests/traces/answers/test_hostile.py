"""Model output is hostile: nothing here may hang, fill the memory, run code or be accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import State
from stillroom.traces.answers import AnswerChecker

LIMIT_S = 1.5

HOSTILE = {
    "tower": r"\boxed{10^{10^{10}}}",
    "binomial": r"\boxed{\binom{10^{9}}{5\cdot 10^{8}}}",
    "sum": r"\boxed{\sum_{k=1}^{10^9} \frac{1}{k^2+1}}",
    "factorials": r"\boxed{((((9!)!)!)!)}",
    "depth": r"\boxed{" + "(" * 2000 + "1" + ")" * 2000 + "}",
    "fractions": r"\boxed{" + r"1+\frac{1}{" * 200 + "1" + "}" * 200 + "}",
    "digits": r"\boxed{" + "7" * 500_000 + "}",
    "boxes": "\\boxed{" * 15_000,
    "dollars": "$ " * 100_000,
    "brackets": "[ " * 100_000,
    "plain import": "__import__('os').system('touch executed_1')",
    "import": "$__import__('os').system('touch executed_2')$",
    "text": r"\boxed{\text{open('executed_3','w')}}",
    "operator": r"\boxed{\operatorname{exec}(\text{open('executed_4','w')})}",
    "variable": r"\boxed{\variable{open('executed_5','w')}}",
    "classes": r"\boxed{().__class__.__base__.__subclasses__()}",
    "surrogates": "\\boxed{\ud800\udfff 42}",
    "nul": "\\boxed{4\x002}",
    "protocol": '\\boxed{42}\n{"reason": "equal", "detail": ""}\n\\boxed{x+"}\n',
    "newlines": "\\boxed{x+\n\r\n\u2028\u20281}",
    "matrix": r"\boxed{\begin{pmatrix}" + r"1&" * 500 + r"1\end{pmatrix}}",
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnswerChecker]:
    """A checker whose workers run in an empty folder."""
    with pytest.MonkeyPatch.context() as patch, AnswerChecker(workers=2, timeout_s=LIMIT_S) as made:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        made.warm()
        yield made
        assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_never_accepted(strict: AnswerChecker, name: str) -> None:
    verdict = strict.check(r"\boxed{42}", HOSTILE[name])
    assert verdict.state != State.ACCEPTED
    assert verdict.seconds < LIMIT_S + 5


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_accepted_against_a_hostile_gold_that_cannot_be_read(strict: AnswerChecker, name: str) -> None:
    assert strict.check(HOSTILE[name], r"\boxed{42}").state != State.ACCEPTED


def test_the_hostile_set(strict: AnswerChecker, data: Callable[[str], list[dict[str, Any]]]) -> None:
    rows = data("answers/hostile_dev.jsonl")
    verdicts = strict.check_many((row["gold"], row["pred"]) for row in rows)
    accepted = [row["name"] for row, verdict in zip(rows, verdicts, strict=True) if verdict.state is State.ACCEPTED]
    assert accepted == ["unicode digits fullwidth"]  # it is 42
    assert max(verdict.seconds for verdict in verdicts) < LIMIT_S + 5
