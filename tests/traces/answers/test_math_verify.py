"""Where our checker and Math-Verify differ: every reason is given where it holds, and nothing stops the report."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import State, Verdict
from stillroom.errors import CheckerError, InputError, MissingExtra, MissingFile
from stillroom.sampling.workers.pool import Worker
from stillroom.traces.answers import Reason, state_of
from stillroom.traces.answers.math_verify import compare
from stillroom.traces.answers.math_verify.compare import AgainstSummary, Judgement, MathVerify, check_against
from stillroom.traces.answers.math_verify.disagreements import Facts, Side, Theirs, Why, is_fragment, policies_of, why
from stillroom.traces.answers.math_verify.worker import wrapped
from stillroom.traces.answers.pairs_file import Row

pytest.importorskip("math_verify")

HANG = r"\boxed{9^{9^{9^{9}}}}"
"""Math-Verify works on it for longer than anybody waits; we stop before we parse it."""

# Pairs that only one of the two accepts, whichever way our own rules change, with the reason.
DIFFER: list[tuple[str, str, Why]] = [
    (r"\boxed{4t}", r"\boxed{4}", Why.UNITS),
    (r"\boxed{3\text{ km}}", r"\boxed{3\text{ cm}}", Why.UNITS),
    (r"\boxed{25_{6}}", r"\boxed{25}", Why.FRAGMENT),
    (r"\boxed{\frac \pi4 + 2 - \sqrt2}", r"\boxed{2}", Why.FRAGMENT),
    ("71/6", "The answer is 11 5/6", Why.FRAGMENT),
    ("0.0000001", "0.0000002", Why.ROUNDING),
    (r"$\frac{1}{2^{99}}$", r"$\frac{1}{2^{98}}$", Why.ROUNDING),
    (r"\boxed{1234}", r"\boxed{1\,234}", Why.MISREAD),
    (r"\boxed{-2\pi}", "-2*pi", Why.MISREAD),
    (r"\boxed{74^\circ}", r"\boxed{74°}", Why.THEIRS_UNREAD),
    (r"\boxed{20:34}", r"\boxed{10:17}", Why.SAME_READING),
    (r"\boxed{\frac{1}{432}}", r"\boxed{2.314814814815 \times 10^{-3}}", Why.POLICY),
    (r"\boxed{\text{2,3,5}}", r"\boxed{2,3,5}", Why.KINDS),
]
AGREE = [("18", "#### 18"), ("18", "#### 19"), ("1/2", r"\boxed{0.5}"), ("x+1", r"So \boxed{1+x}.")]


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[AgainstSummary, list[dict[str, Any]]]:
    """The report on all the pairs above, labelled as the truth is, and what it wrote."""
    folder = tmp_path_factory.mktemp("against")
    rows = [{"gold": gold, "pred": pred, "expected": label(reason)} for gold, pred, reason in DIFFER]
    rows += [{"gold": gold, "pred": pred, "expected": pred != "#### 19"} for gold, pred in AGREE]
    summary = check_against(written(folder, *rows), out=folder / "out.jsonl", workers=1, timeout_s=60)
    return summary, [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def label(reason: Why) -> bool:
    """Whether the pairs that we list for a reason are right: then Math-Verify misses them, else it accepts them."""
    return reason in (Why.MISREAD, Why.THEIRS_UNREAD, Why.POLICY, Why.KINDS)


# -- the report ----------------------------------------------------------------------------------------------------


def test_each_difference_is_listed_with_its_reason(report: tuple[AgainstSummary, list[dict[str, Any]]]) -> None:
    summary, _ = report
    listed = [(d.gold, d.answer, d.why) for d in summary.disagreements]
    assert listed == DIFFER
    assert [d.line for d in summary.disagreements] == list(range(1, len(DIFFER) + 1))


def test_every_pair_is_in_the_table(report: tuple[AgainstSummary, list[dict[str, Any]]]) -> None:
    summary, _ = report
    figures = summary.as_dict()
    assert summary.rows == len(DIFFER) + len(AGREE) == sum(sum(row.values()) for row in figures["table"].values())
    assert set(figures["table"]) == set(State)
    assert all(set(row) == set(Theirs) for row in figures["table"].values())
    assert sum(figures["why"].values()) == figures["disagreements"] == len(DIFFER)
    assert json.loads(json.dumps(figures)) == figures


def test_what_is_written_is_what_is_listed(report: tuple[AgainstSummary, list[dict[str, Any]]]) -> None:
    summary, lines = report
    assert lines == summary.as_dict()["differences"]
    first = lines[0]
    assert (first["verdict"], first["math_verify"], first["expected"]) == ("rejected", "accepted", False)
    assert first["math_verify_read"] == {"gold": "4", "pred": "4"}
    assert first["sentence"] == Why.UNITS.sentence


def test_who_was_right_is_counted(report: tuple[AgainstSummary, list[dict[str, Any]]]) -> None:
    score = report[0].score
    assert score is not None
    assert (score.labelled, score.differing) == (len(DIFFER) + len(AGREE), len(DIFFER))
    assert score.ours - score.ours_differing == score.theirs - score.theirs_differing == len(AGREE)


def test_without_labels_nobody_is_right(tmp_path: Path) -> None:
    summary = check_against(written(tmp_path, {"a": "18", "b": "#### 18"}), gold="a", pred="b", workers=1)
    assert summary.score is None
    assert summary.as_dict()["expected"] is None
    assert summary.disagreements == []


def test_a_hang_is_a_timeout_and_the_next_pair_is_judged(tmp_path: Path) -> None:
    rows = [{"gold": "42", "pred": HANG}, {"gold": "4t", "pred": "4"}]
    summary = check_against(written(tmp_path, *rows), workers=1, timeout_s=5)
    assert sum(summary.table[ours, Theirs.TIMEOUT] for ours in State) == 1
    assert [(d.line, d.theirs) for d in summary.disagreements] == [(2, Theirs.ACCEPTED)]


def test_texts_that_are_no_texts(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"gold": "4t", "pred": "\ud800\x1b[2J\u202e \\boxed{4}"},
        {"gold": "5", "pred": None},
    ]
    out = tmp_path / "out.jsonl"
    summary = check_against(written(tmp_path, *rows), out=out, workers=1, timeout_s=60)
    assert summary.rows == 2
    assert [json.loads(line)["pred"] for line in out.read_text().splitlines()] == [rows[0]["pred"]]


def test_bad_input_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MODULE", "stillroom.no_such_module")
    good = {"gold": "1", "pred": "1"}
    with pytest.raises(MissingFile, match="absent"):
        check_against(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match=r"pairs\.jsonl:2"):
        check_against(written(tmp_path, good, {"gold": "1"}))
    with pytest.raises(InputError, match="cannot be written"):
        check_against(written(tmp_path, good), out=tmp_path)
    with pytest.raises(CheckerError, match="no_such_module"):
        check_against(written(tmp_path, good), out=tmp_path / "out.jsonl", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_without_math_verify_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"stillroom\[math-verify\]"):
        check_against(written(tmp_path, {"gold": "1", "pred": "1"}))


def test_the_reported_failures(data: Callable[[str], list[dict[str, Any]]], tmp_path: Path) -> None:
    rows = [
        {"gold": row["gold"], "pred": row["pred"], "expected": row["expected"]}
        for row in data("answers/reported_dev.jsonl")
        if row["topic"] != "hang"
    ]
    summary = check_against(written(tmp_path, *rows), workers=2, timeout_s=20)
    score = summary.score
    assert summary.rows == len(rows)
    assert score is not None
    assert score.ours_differing > score.theirs_differing
    assert not {Why.UNKNOWN, Why.THEIRS_ERROR} & set(summary.whys)


# -- the score -----------------------------------------------------------------------------------------------------

OUTCOMES = st.tuples(st.sampled_from(Reason), st.sampled_from(Theirs), st.sampled_from([True, False, None]))


def counted(outcomes: list[tuple[Reason, Theirs, bool | None]]) -> AgainstSummary:
    summary = AgainstSummary()
    for reason, theirs, expected in outcomes:
        summary.add(Row("", "", expected), Verdict(state_of(reason), reason), theirs)
    return summary


@given(st.lists(OUTCOMES))
def test_of_two_that_differ_exactly_one_is_right(outcomes: list[tuple[Reason, Theirs, bool | None]]) -> None:
    summary = counted(outcomes)
    assert summary.rows == len(outcomes)
    score = summary.score
    if score is None:
        assert all(expected is None for *_, expected in outcomes)
        return
    assert score.ours_differing + score.theirs_differing == score.differing <= score.labelled
    assert score.ours - score.ours_differing == score.theirs - score.theirs_differing
    right = [(state_of(r) is State.ACCEPTED) is e for r, _, e in outcomes if e is not None]
    assert (score.labelled, score.ours) == (len(right), sum(right))


@given(st.lists(OUTCOMES), st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(outcomes: list[Any], chance: Any) -> None:
    shuffled = chance.sample(outcomes, len(outcomes))
    assert counted(outcomes).as_dict() == counted(shuffled).as_dict()


# -- the reasons ---------------------------------------------------------------------------------------------------


def said(reason: Reason, detail: str = "") -> Verdict:
    return Verdict(state_of(reason), reason, detail=detail)


def facts(gold: Side | None = None, answer: Side | None = None, **changed: Any) -> Facts:
    """Facts of a pair of the number 5, with changes."""
    five = Side("5", "5", "expression")
    known: dict[str, Any] = {"back": True, "kept": True, "gap": None, "fault": "", **changed}
    return Facts(gold or five, answer or five, **known)


NO: dict[str, Any] = {"back": False, "kept": False}
WHYS: list[tuple[Verdict, Theirs, Facts | None, Why]] = [
    (said(Reason.EQUAL), Theirs.TIMEOUT, None, Why.THEIRS_TIMEOUT),
    (said(Reason.EQUAL), Theirs.ERROR, None, Why.THEIRS_ERROR),
    (said(Reason.TIMEOUT), Theirs.ACCEPTED, facts(), Why.OUR_LIMIT),
    (said(Reason.OVER_LIMIT), Theirs.ACCEPTED, facts(), Why.OUR_LIMIT),
    (said(Reason.NO_ANSWER), Theirs.ACCEPTED, facts(), Why.NO_ANSWER),
    (said(Reason.NEEDS_POLICY), Theirs.ACCEPTED, facts(), Why.POLICY),
    (said(Reason.UNPARSED_GOLD), Theirs.ACCEPTED, facts(), Why.OURS_UNREAD),
    (said(Reason.UNPARSED_ANSWER), Theirs.ACCEPTED, None, Why.OURS_UNREAD),
    (said(Reason.DIFFERENT), Theirs.ACCEPTED, None, Why.UNKNOWN),
    (said(Reason.EQUAL), Theirs.REJECTED, facts(answer=Side(), **NO), Why.THEIRS_UNREAD),
    (said(Reason.DIFFERENT), Theirs.ACCEPTED, facts(kept=False), Why.UNITS),
    (said(Reason.EQUAL), Theirs.REJECTED, facts(answer=Side("9 and 5", "{5, 9}", "set"), **NO), Why.OTHER_PLACE),
    (said(Reason.UNPARSED_GOLD), Theirs.ACCEPTED, facts(gold=Side("", "", "")), Why.FRAGMENT),
    (said(Reason.EQUAL, "5 (units=optional)"), Theirs.REJECTED, facts(**NO), Why.POLICY),
    (said(Reason.DIFFERENT), Theirs.ACCEPTED, facts(gap=1e-7), Why.ROUNDING),
    (said(Reason.EQUAL), Theirs.REJECTED, facts(gap=1e-7, **NO), Why.ROUNDING),
    (said(Reason.EQUAL), Theirs.REJECTED, facts(gap=0.5, **NO), Why.MISREAD),
    (said(Reason.EQUAL), Theirs.REJECTED, facts(gold=Side("5", "5*x", "expression", "x"), **NO), Why.MISREAD),
    (said(Reason.DIFFERENT), Theirs.ACCEPTED, facts(back=False), Why.ONE_WAY),
    (said(Reason.EQUAL), Theirs.REJECTED, facts(kept=False), Why.ONE_WAY),
    (said(Reason.EQUAL), Theirs.REJECTED, facts(answer=Side("5", "{5}", "set"), **NO), Why.KINDS),
    (said(Reason.DIFFERENT), Theirs.ACCEPTED, facts(*[Side("5", "{5}", "set")] * 2), Why.COLLECTION),
    (said(Reason.EQUAL), Theirs.REJECTED, facts(fault="TypeError", **NO), Why.THEIRS_FAULT),
    (said(Reason.EQUAL), Theirs.REJECTED, facts(gap=0.0, **NO), Why.UNPROVEN),
    (said(Reason.DIFFERENT), Theirs.ACCEPTED, facts(gap=0.0), Why.SAME_READING),
    (said(Reason.DIFFERENT), Theirs.ACCEPTED, facts(answer=Side("5", "5.0", "expression")), Why.DIFFERENT),
]


@pytest.mark.parametrize(("ours", "theirs", "known", "reason"), WHYS)
def test_a_reason_follows_from_the_facts(ours: Verdict, theirs: Theirs, known: Facts | None, reason: Why) -> None:
    assert why(ours, theirs, known, r"\boxed{5}", r"\boxed{5}") is reason


@pytest.mark.parametrize(
    ("detail", "named"),
    [
        ("33.5% (percent=value)", ["percent=value"]),
        ("policy bases", ["bases"]),
        ("(1,2) (tuples=ordered, list_order=any, tuples=ordered)", ["tuples=ordered", "list_order=any"]),
        ("5 percent of the units", []),
    ],
)
def test_policies_are_found_in_our_detail(detail: str, named: list[str]) -> None:
    assert policies_of(said(Reason.EQUAL, detail)) == named


def test_every_reason_is_reached() -> None:
    assert {reason for *_, reason in WHYS} == set(Why)


@pytest.mark.parametrize(
    ("text", "reading", "fragment"),
    [
        (r"\frac75+\frac15 i", "1/5", True),
        (r"\frac75+\frac15 i", "i/5 + 7/5", False),
        ("25_{6}", "25", True),
        ("1,234,567", "1234567", False),
        (r"1\,234", "1234", False),
        ("0.50", "0.500000000000000", False),
        (r"\text{Paris}", "a*i*p*r*s", False),
        ("2 2/3", "8/3", True),  # marks are lost, whatever is made of them
        ("(-∞, -3)", "-3", True),
        (r"(-\infty, -3)", "Interval.open(-oo, -3)", False),
        ("x=5", "5", True),
    ],
)
def test_a_fragment_lacks_a_number_or_a_letter(text: str, reading: str, fragment: bool) -> None:
    assert is_fragment(text, Side(text, reading, "expression")) is fragment


# -- how Math-Verify is driven -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "given_to_it"),
    [
        (r"\frac12", r"$\frac12$"),
        ("f(x)=2x", "$f(x)=2x$"),
        (r"40 \text{ red candies}", r"$40 \text{ red candies}$"),
        (r"2\cos x", r"$2\cos x$"),
        ("7,425,000", "7,425,000"),
        ("-.5", "-.5"),
        ("10%", "10%"),
        ("1,2", "$1,2$"),
        ("$x$", "$x$"),
        (r"\boxed{x}", r"\boxed{x}"),
        ("She has 18.\n#### 18", "She has 18.\n#### 18"),
        ("The answer is 5", "The answer is 5"),
        ("", ""),
    ],
)
def test_bare_formulas_are_wrapped_and_nothing_else(text: str, given_to_it: str) -> None:
    assert wrapped(text) == given_to_it


def only_worker(rival: MathVerify) -> Worker:
    (worker,) = rival._pool._free.queue
    assert worker is not None
    return worker


def test_a_process_that_dies_costs_one_pair_and_none_is_left() -> None:
    with MathVerify(workers=1, timeout_s=60, memory_mb=2048) as rival:
        assert rival.verify("1/2", "$0.5$") == Judgement(Theirs.ACCEPTED)
        worker = only_worker(rival)
        os.kill(worker.pid, signal.SIGKILL)
        while worker.alive():
            pass
        assert rival.verify("1/2", "$0.5$") == Judgement(Theirs.ACCEPTED)
        other = only_worker(rival)
        assert other.pid != worker.pid
    assert not other.alive()
    rival.close()
    with pytest.raises(CheckerError, match="closed"):
        rival.verify("1", "1")


def test_a_crash_is_an_error_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    with MathVerify(workers=1, timeout_s=60, memory_mb=2048) as rival:
        rival.verify("1", "1")
        worker = only_worker(rival)
        ask = worker.ask

        def killed(job: dict[str, str], limit_s: float) -> dict[str, Any]:
            os.kill(worker.pid, signal.SIGSEGV)
            return ask(job, limit_s)

        monkeypatch.setattr(worker, "ask", killed)
        judgement = rival.verify("1", "1")
        assert judgement.theirs is Theirs.ERROR
        assert "ended" in judgement.detail
        assert rival.verify("1", "1").theirs is Theirs.ACCEPTED


def test_verdicts_come_back_in_order_and_pairs_are_taken_as_they_are_needed() -> None:
    taken = 0

    def pairs() -> Any:
        nonlocal taken
        for number in range(300):
            taken += 1
            yield "1", str(number % 3)

    with MathVerify(workers=1, timeout_s=60, memory_mb=2048) as rival:
        stream = rival.stream(pairs())
        first = next(stream)
        assert taken < 300
        theirs = [first.theirs, *(judgement.theirs for judgement in stream)]
    assert theirs == [Theirs.ACCEPTED if number % 3 == 1 else Theirs.REJECTED for number in range(300)]
