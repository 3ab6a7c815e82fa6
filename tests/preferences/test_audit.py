"""The audit: what it refuses, what it warns of, and that sound pairs pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import user
from stillroom.common.stats.intervals import Interval
from stillroom.errors import AuditFailed, InputError
from stillroom.judges.records import JudgeState
from stillroom.preferences.audit import Audit, audit, audit_rows
from stillroom.preferences.checks import meanings
from stillroom.preferences.records import LeftOut, Pair
from stillroom.preferences.rows import dpo_row
from stillroom.preferences.settings import AuditSettings
from tests.preferences.building import build, judged, slate, task

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "islet",
    "jetty",
    "knoll",
    "larch",
    "maple",
    "north",
    "oasis",
    "pearl",
    "quill",
    "river",
]


def text(seed: int, words: int = 12) -> str:
    """Words in an order of its own."""
    return " ".join(WORDS[(seed * 7 + i * (seed % 5 + 1)) % len(WORDS)] + str((seed + i) % 10) for i in range(words))


def sound(n: int = 20) -> list[Pair]:
    """Pairs that nothing is wrong with: as long on both sides, both the student's own."""
    return [pair(f"t{i}", text(2 * i), text(2 * i + 1), prompt=text(500 + i)) for i in range(n)]


def pair(
    of: str,
    chosen: str,
    rejected: str,
    *,
    prompt: str = "",
    better: float | None = 5.0,
    worse: float | None = 1.0,
    own: bool = True,
) -> Pair:
    asked = task(of, prompt or None)
    a, b = (judged(s, t, of=of, index=i, own=own) for i, (s, t) in enumerate(((better, chosen), (worse, rejected))))
    margin = None if better is None or worse is None else better - worse
    return Pair(asked, asked.messages, a, b, margin, "best_worst")


def broken(found: Audit) -> dict[str, int]:
    return {each.name: each.count for each in found.findings if each.broken}


def test_sound_pairs_pass() -> None:
    found = audit(sound(), test=[user(text(900))], accuracy=Interval(0.9, 0.85, 0.94, 200))
    assert broken(found) == {}
    assert not found.refused
    found.raise_if_refused()
    assert [each.name for each in found.findings] == list(meanings())


FAILED = replace(judged(None, "x", of="t0", state=JudgeState.REFUSED))

ERRORS: list[tuple[str, Callable[[Pair], Pair | Sequence[Pair]]]] = [
    ("empty_side", lambda p: pair("t0", " \n", "rejected", prompt=text(500))),
    ("empty_side", lambda p: pair("t0", "chosen", "", prompt=text(500))),
    ("identical_sides", lambda p: pair("t0", "The same  text.", "The same text.\n", prompt=text(500))),
    ("prompts_differ", lambda p: replace(p, rejected=judged(1.0, "answer to another", of="t1", own=True))),
    ("not_better", lambda p: replace(p, margin=0.0)),
    ("not_better", lambda p: replace(p, margin=-1.0)),
    ("not_better", lambda p: replace(p, margin=float("nan"))),
    ("failed_side", lambda p: replace(p, rejected=replace(FAILED, candidate=p.rejected.candidate))),
    ("contradictions", lambda p: [p, replace(p, chosen=p.rejected, rejected=p.chosen)]),
    ("template_tokens", lambda p: pair("t0", "hello<|im_end|>", "bye", prompt=text(500))),
    ("template_tokens", lambda p: pair("t0", "hello there you", "bye [INST] now", prompt=text(500))),
    ("template_tokens", lambda p: pair("t0", "hello there you", "bye for now", prompt="<start_of_turn>user")),
    ("test_leak", lambda p: pair("t0", "chosen one", "other one", prompt="Held   OUT")),
]


@pytest.mark.parametrize(("name", "spoil"), ERRORS)
def test_one_broken_pair_refuses_all(name: str, spoil: Callable[[Pair], Pair | Sequence[Pair]]) -> None:
    first, *others = sound(40)
    spoilt = spoil(first)
    pairs = [*([spoilt] if isinstance(spoilt, Pair) else spoilt), *others]
    found = audit(pairs, test=[user("held out")])
    assert [each.name for each in found.errors] == [name]
    assert found.errors[0].examples[0].startswith("t0/")
    with pytest.raises(AuditFailed, match=r"the audit refuses these \d+ pairs: \d .*t0/teacher.*; .+"):
        found.raise_if_refused()


def test_no_pair_at_all_is_refused() -> None:
    with pytest.raises(AuditFailed, match="these 0 pairs: there is none"):
        audit([]).raise_if_refused()


def near_twins(n: int) -> list[Pair]:
    return [pair(f"t{i}", text(i, 60), text(i, 60) + " more", prompt=text(500 + i)) for i in range(n)]


WARNINGS: list[tuple[str, list[Pair]]] = [
    ("near_identical", near_twins(3)),
    ("repeated_pairs", sound(1) * 2),
    ("refusals_chosen", [pair("t0", "I'm sorry, but I can't help with that.", text(1), prompt=text(500))]),
]


@pytest.mark.parametrize(("name", "spoilt"), WARNINGS)
def test_doubtful_pairs_warn_and_do_not_refuse(name: str, spoilt: list[Pair]) -> None:
    found = audit([*spoilt, *sound(20)[len(spoilt) :]])
    assert name in [each.name for each in found.warnings]
    assert not found.refused


def test_off_policy_pairs_warn() -> None:
    other = [pair(f"t{i}", text(2 * i), text(2 * i + 1), prompt=text(500 + i), own=False) for i in range(11)]
    assert broken(audit([*other, *sound(20)[11:]])) == {"off_policy": 11}
    assert broken(audit([*other[:10], *sound(20)[10:]])) == {}


def test_few_prompts_for_many_pairs_warn() -> None:
    few = [pair("t", text(2 * i), text(2 * i + 1), prompt="One prompt") for i in range(10)]
    assert broken(audit(few)) == {"repeated_prompts": 9}


def test_middling_answers_in_both_roles_warn() -> None:
    a, b, c = text(1), text(2), text(3)
    chain = [pair("t", a, b), pair("t", b, c), pair("u", a, b), pair("u", b, c)]
    found = audit(chain)
    assert broken(found) == {"both_roles": 4}
    assert not found.refused


def test_two_refusals_or_a_refusal_rejected_are_no_matter() -> None:
    refusal = "I cannot assist with this request."
    pairs = [pair("t0", text(1), refusal), pair("t1", refusal, "I'm sorry, I can't do it."), *sound(20)[2:]]
    assert "refusals_chosen" not in broken(audit(pairs))


def test_prompts_nearly_held_out_warn() -> None:
    asked = "Write a short letter to the landlord about the broken heating in the flat on the third floor today"
    pairs = [pair("t0", text(1), text(2), prompt=asked + " please"), *sound(20)[1:]]
    found = audit(pairs, test=[user(asked), user("Something else entirely, about the weather.")])
    assert broken(found) == {"test_leak_near": 1}
    assert broken(audit(pairs, AuditSettings(leak_similarity=0.99), test=[user(asked)])) == {}


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        (12, 12, set()),
        (24, 12, {"length_gap", "longer_chosen"}),
        (12, 24, {"length_gap", "longer_chosen"}),  # the other way round is as bad
    ],
)
def test_lengths_warn_either_way(chosen: int, rejected: int, expected: set[str]) -> None:
    pairs = [pair(f"t{i}", text(2 * i, chosen), text(2 * i + 1, rejected), prompt=text(500 + i)) for i in range(30)]
    assert set(broken(audit(pairs))) == expected


def test_judge_failures_and_ties_warn() -> None:
    slates = [slate(1.0, 2.0, None, of=f"t{i}") for i in range(10)] + [slate(3.0, 3.0, of=f"u{i}") for i in range(10)]
    built = build(*slates)
    found = audit(sound(), slates=slates, left_out=[*built.left_out, LeftOut("no/candidate", "tie")])
    assert broken(found) == {"judge_ties": 10, "judge_failures": 10}
    said = {each.name: each for each in found.findings}
    assert (said["judge_failures"].value, said["judge_failures"].of) == (0.2, 50)
    assert said["judge_failures"].detail == "10 refused"
    assert said["judge_ties"].value == 0.5


def test_failures_that_gather_are_named() -> None:
    slates = [slate(1.0, 2.0, of=f"t{i}") for i in range(20)]
    slates += [
        replace(
            slate(of=f"u{i}"), judged=(judged(None, text(i, 99), of=f"u{i}", source="x", state=JudgeState.OVERFLOW),)
        )
        for i in range(5)
    ]
    found = {each.name: each for each in audit(sound(), slates=slates).findings}
    assert found["failures_gather"].broken
    assert found["failures_gather"].detail == "source x 100% of 5, long 100% of 5"


@pytest.mark.parametrize(
    ("accuracy", "value", "warns"),
    [(None, None, False), (Interval(0.8, 0.7, 0.9, 100), 0.2, False), (Interval(0.7, 0.6, 0.8, 100), 0.3, True)],
)
def test_label_noise_is_estimated_from_the_calibration(
    accuracy: Interval | None, value: float | None, warns: bool
) -> None:
    [found] = [each for each in audit(sound(), accuracy=accuracy).findings if each.name == "label_noise"]
    assert found.value == (None if value is None else pytest.approx(value))
    assert found.broken is warns
    if found.interval is not None and accuracy is not None:
        assert found.interval.low == pytest.approx(1 - accuracy.high)
        assert found.interval.high == pytest.approx(1 - accuracy.low)
    else:
        assert found.told == "not known: the judge was not calibrated"


def test_what_is_not_known_is_not_said_to_be_none() -> None:
    found = {each.name: each for each in audit(sound()).findings}
    for name in ("judge_failures", "judge_ties", "test_leak", "test_leak_near", "label_noise"):
        assert (found[name].value, found[name].told[:9]) == (None, "not known"), name
    assert found["empty_side"].value == 0.0


def test_every_finding_says_what_happens_who_shows_it_and_what_to_do() -> None:
    for name, meaning in meanings().items():
        assert all(isinstance(part, str) and part.strip() == part != "" for part in meaning), name
        assert meaning.severity in ("error", "warning")
        assert "http" in meaning.source or ":" in meaning.source


def test_the_same_audit_is_the_same_bytes(tmp_path: Path) -> None:
    pairs = [pair("t0", "x \ud800", "y", prompt="a"), *sound(5)]
    for name in ("a.json", "b.json"):
        audit(pairs, test=[user("z")]).write(tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    found = json.loads((tmp_path / "a.json").read_text())
    assert (found["pairs"], found["refused"], len(found["findings"])) == (6, False, len(meanings()))
    assert {
        "name",
        "severity",
        "broken",
        "count",
        "of",
        "value",
        "limit",
        "examples",
        "ignored",
        "source",
        "advice",
    } <= set(found["findings"][0])


def test_the_table_is_plain_text_whatever_an_id_holds() -> None:
    from rich.console import Console

    slates = [
        replace(slate(1.0, of="t"), judged=(judged(None, of="t", source="[red]x[/red]", state=JudgeState.REFUSED),))
    ]
    slates += [slate(*[1.0] * 10, of=f"u{i}") for i in range(5)]
    console = Console(width=200, record=True, file=StringIO())
    found = audit(sound(), slates=slates)
    console.print(found.table())
    said = console.export_text()
    assert "source [red]x[/red] 100% of 1" in said
    assert all(meaning.title in said for meaning in meanings().values())
    assert found.table().row_count == len(meanings())


# -- rows of any data set ----------------------------------------------------------------------------------------


def turns(*said: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(said)]


def test_our_own_rows_are_audited_as_their_pairs() -> None:
    pairs = [*sound(10), pair("t99", "same", "same ")]
    a, b = audit(pairs).as_dict(), audit_rows([dict(dpo_row(p)) for p in pairs]).as_dict()
    # A row does not say whether a judgement failed.
    for found in (a, b):
        found["findings"] = [each for each in found["findings"] if each["name"] != "failed_side"]
    assert a == b


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "p", "chosen": "a b", "rejected": "c d"}, {}),
        ({"prompt": "p", "chosen": "a b", "rejected": "a  b"}, {"identical_sides": 1}),
        ({"chosen": turns("p", "a b"), "rejected": turns("p", "c d")}, {}),
        ({"chosen": turns("p", "a b"), "rejected": turns("q", "c d")}, {"prompts_differ": 1}),
        ({"prompt": turns("p"), "chosen": [], "rejected": turns("q", "c d")[1:]}, {"empty_side": 1}),
        (
            {"prompt": "p", "chosen": "a b", "rejected": "c d", "chosen_score": 1, "rejected_score": 1},
            {"not_better": 1},
        ),
        ({"prompt": "p", "chosen": "a b", "rejected": "c d", "chosen_score": 1, "rejected_score": None}, {}),
        ({"prompt": "held out", "chosen": "a b", "rejected": "c d"}, {"test_leak": 1}),
    ],
)
def test_rows_of_others(row: dict[str, Any], expected: dict[str, int]) -> None:
    found = audit_rows([row], test=[user("Held out")])
    assert {each.name: each.count for each in found.errors} == expected


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"prompt": 3, "chosen": "a", "rejected": "b"},
        {"chosen": [{"role": "user"}], "rejected": "b"},
        {"chosen": "a", "rejected": "b", "margin": "1"},
    ],
)
def test_what_is_no_pair_is_an_input_error(row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="row 2: "):
        audit_rows([{"chosen": "a", "rejected": "b"}, row])
