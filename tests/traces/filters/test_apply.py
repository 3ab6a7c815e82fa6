"""Applying filters: nothing is dropped in silence, the order stays, rejects are kept on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillroom.errors import RunError
from stillroom.traces.filters import RejectFiles
from tests.traces.filters.filtering import apply_filters, build_filters

SPEC: list[Any] = ["finished", {"max_tokens": 50}, "one_final_answer", "no_repetition", "dedup"]


def test_counts_and_rejects_say_who_dropped_what(make_trace: Any) -> None:
    traces = [
        make_trace("The answer is 18.", tokens=5, index=0),
        make_trace("The answer", tokens=5, finish="length", index=1),
        make_trace("The answer is 18.", tokens=5, index=2),
        make_trace("The answer is 17. The answer is 18.", tokens=5, index=3),
        make_trace("The answer is eighteen.", tokens=99, index=4),
    ]
    done = apply_filters(traces, build_filters(SPEC), test=[])
    assert [trace.attempt.index for trace in done.kept] == [0]
    assert [(reject.trace.attempt.index, reject.filter, reject.reason) for reject in done.rejects] == [
        (1, "finished", "truncated"),
        (2, "dedup", "same_text"),
        (3, "one_final_answer", "several_answers"),
        (4, "max_tokens", "too_long"),
    ]
    assert [tuple(count) for count in done.counts] == [
        ("finished", 5, 1),
        ("max_tokens", 4, 1),
        ("one_final_answer", 3, 1),
        ("no_repetition", 2, 0),
        ("dedup", 2, 1),
    ]


TEXTS = st.sampled_from(
    ["The answer is 1.", "the answer is 1", "The answer is 2.", "", "wait " * 50, "<think>"]
) | st.text(max_size=60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, st.integers(0, 90), st.sampled_from("ab")), max_size=12))
def test_every_trace_is_kept_or_rejected_once_in_order(make_trace: Any, given: list[tuple[str, int, str]]) -> None:
    traces = [make_trace(text, tokens=n, task=task, index=i) for i, (text, n, task) in enumerate(given)]
    filters = build_filters(SPEC)
    done = apply_filters(traces, filters, test=[])
    assert sorted(t.attempt.index for t in [*done.kept, *(r.trace for r in done.rejects)]) == list(range(len(traces)))
    assert [t.attempt.index for t in done.kept] == sorted(t.attempt.index for t in done.kept)
    assert sum(count.dropped for count in done.counts) == len(done.rejects)
    seen = len(traces)
    for count in done.counts:
        assert count.seen == seen
        seen -= count.dropped
    assert apply_filters(done.kept, filters, test=[]).kept == done.kept
    assert apply_filters(traces, filters, test=[]) == done


def test_no_filters_keep_everything(make_trace: Any) -> None:
    assert len(apply_filters([make_trace("x")], [], test=[]).kept) == 1


def test_rejects_are_written_by_filter_and_old_ones_go(make_trace: Any, tmp_path: Path) -> None:
    (tmp_path / "one_language.jsonl").write_text("from an earlier run")
    (tmp_path / "notes.jsonl").write_text("the user's own")
    bad = make_trace("Zahl \ud800 因此\n\x00", reasoning="why", finish="length", index=3)
    done = apply_filters([bad], build_filters(["finished"]), test=[])
    with RejectFiles(tmp_path) as files:
        files.add(done.rejects[0])
    assert sorted(item.name for item in tmp_path.iterdir()) == ["finished.jsonl", "notes.jsonl"]
    [line] = (tmp_path / "finished.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(line)
    assert (row["task_id"], row["index"], row["reason"]) == ("t", 3, "truncated")
    assert row["text"] == "Zahl � 因此\n\x00"
    assert row["reasoning"] == "why"


def test_a_folder_that_cannot_be_written_is_a_run_error(make_trace: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = apply_filters([make_trace("", index=3)], build_filters(["finished"]), test=[])
    with pytest.raises(RunError, match="cannot write"), RejectFiles(tmp_path / "file" / "rejects") as files:
        files.add(done.rejects[0])


HOSTILE = {
    "boxes": "\\boxed{" * 20_000,
    "gaps": ("\\boxed{1}" + " " * 20_000) * 4,
    "statements": "answer: \\boxed{1}\n" * 8_000,
    "groups": ",".join(["111"] * 30_000) + "1",
    "dollars": "$" * 100_000,
    "drawings": "[asy]" * 20_000,
    "tags": "</think>" * 20_000,
    "surrogates": "\ud800" * 50_000,
    "controls": "\x00\x1b[31m\u202e" * 1_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(60)
def test_hostile_texts_neither_hang_nor_raise(make_trace: Any, name: str) -> None:
    spec = [
        "finished",
        "one_final_answer",
        "no_repetition",
        "not_answer_only",
        {"dedup": 0.8},
        "not_refused",
        "one_language",
    ]
    test = [make_trace("").task]
    for each in [*spec, {"decontaminate": "test"}, {"max_tokens": 5}, {"min_tokens": 5}]:
        done = apply_filters([make_trace(HOSTILE[name], prompt="q")], build_filters([each]), test=test)
        assert len(done.kept) + len(done.rejects) == 1
