"""All 12,480 recorded judgements of LLMBar: what we read from the raw completions against the winners on record.

They differ in 136 of 22,272 orders and in 5 of 1,344 pairs of ratings, listed here one by one with the reason. For each
of them we stand by our reading.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from stillroom.judges.agreement import accuracy, compared, consistency, rated
from stillroom.judges.calibrate import Calibration, GateVerdict, calibrate, gate
from stillroom.judges.human_labels import LabelledPair, load_labelled
from stillroom.judges.recorded import (
    Record,
    RecordedPairwise,
    RecordedPointwise,
    Recording,
    load_recording,
    read_order,
    read_rating,
    recorded_judge,
)
from stillroom.judges.records import JudgeState, OrderVerdict, Rating, both_orders

FOLDER = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data")) / "llmbar"
SETS = {"G": "LLMBar_Adversarial_GPTInst.json", "N": "LLMBar_Natural.json"}
NAMES = {"G": "LLMBar/Adversarial/GPTInst", "N": "LLMBar/Natural"}

# Set, item and order: "N7-" is item 7 of Natural as it stands, "N7+" with its outputs exchanged.
#
# LLMBar searches the whole text for its pattern of (a) before that of (b). So "Output (b) is better.\n\nOutput (a) does
# not …" and "Assistant (a) argues that Output (a) is better. … Therefore, Output (b) is better." count for (a) there.
A_BEFORE_B = {
    "ChatGPT/Swap_CoT": "G6- G65+ N7- N13- N30+ N33- N64+ N96- N96+ N97+",
    "Falcon/CoT": "G26+ N7- N74-",
    "Falcon/Swap_CoT": "N74-",
    "GPT-4/Swap_CoT": "G41+",
    "LLaMA2/Swap_CoT": "G57- N25+ N64- N85+",
    "LLaMA2/Vanilla_1shot": "G34+ G55+ G61- G62- G62+ G64- N7- N54- N60-",
    "LLaMA2/Vanilla_2shot": "G25- G40- G45- G54- G55+ G61- G62- G74+ G76+ N9- N22+ N29- N57- N61+ N79+",
    "PaLM2/CoT": "G0+ G1+ G4+ G5- G8+ G12+ G14- G14+ G21- G21+ G23- G24- G27- G29+ G34- G37- G37+ G38+ G39+ G40+ G42- "
    "G42+ G44- G44+ G45+ G46- G49- G49+ G50+ G52- G52+ G53+ G54- G55- G58+ G59+ G60- G60+ G61+ G62+ G63+ G65- G66- G69- "
    "G70- G70+ G71- G72- G73+ G74- G76+ G77- G78- G79- G79+ G81- G82- G84+ G85- G85+ G87+ G89+ N0+ N2+ N6+ N7- N11- N13- "
    "N18- N32- N34+ N40- N50- N57- N64+ N68- N71- N74- N79+ N85+ N86- N95- N95+",
}
# "Output (b) is better. Output (a) is not about Mars. Therefore, Output (a) is better.": there the opening counts.
OPENING = {"PaLM2/CoT": "G3- N35+"}
# "Output (a): Yes\nOutput (b): No" and the like, which names no winner, counts for (a) there.
DESCRIPTION = {"Falcon/Metrics": "G38- G83-"}
# A verdict in words that its patterns do not know: "I must select Output (a)", "# Output (a) is better."
MISSED = {"LLaMA2/Vanilla_1shot": "G82+ N57-", "Falcon/Metrics": "N62+"}
# "I cannot claim that either Output (a) or Output (b) is better" counts for (b) there.
REFUSED = {"LLaMA2/CoT": "G82+"}
# Cut off at its length limit, in the middle of "Therefore, Output (a)"; the winner on record was put in by hand.
TRUNCATED = {"ChatGPT/CoT": "G51+", "ChatGPT/Swap": "G51+"}
# The provider's filter gave no rating; on record each output wins once, as in a tie.
FILTERED = {"GPT-4/Rating": "G61", "GPT-4/Rating_NoRules": "G61", "GPT-4/Rating_Reference": "G61"}
# A rating of 10 on a scale from 0 to 9.
OFF_THE_SCALE = {"ChatGPT/Rating": "N85", "ChatGPT/Rating_NoRules": "N85"}


class Difference(NamedTuple):
    """A place where we read something else than what is on record."""

    where: str
    method: str
    ours: OrderVerdict
    record: str | None


def listed(groups: dict[str, str]) -> set[tuple[str, str]]:
    return {(method, where) for method, places in groups.items() for where in places.split()}


@pytest.fixture(scope="module")
def recording() -> Recording:
    path = FOLDER / "recorded_judgments.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}: set STILLROOM_DATA to the folder with the public data")
    return load_recording(path)


@pytest.fixture(scope="module")
def pairs(recording: Recording) -> dict[str, tuple[LabelledPair, ...]]:
    return {NAMES[key]: load_labelled(FOLDER / name) for key, name in SETS.items()}


def place(record: Record) -> str:
    dataset, index = record.task_id.rsplit("/", 1)
    return f"{next(key for key, name in NAMES.items() if name == dataset)}{index}"


def differences(recording: Recording) -> Iterator[Difference]:
    for record in recording.records:
        for i, completion in enumerate(record.compared or ()):
            ours, winner = read_order(*completion), record.winners[i]
            shown = None if winner is None else "first" if (winner == "1") is (i == 0) else "second"
            if ours.winner != shown:
                yield Difference(f"{place(record)}{'-+'[i]}", f"{record.judge}/{record.method}", ours, shown)


@pytest.fixture(scope="module")
def differing(recording: Recording) -> tuple[Difference, ...]:
    return tuple(differences(recording))


def those(differing: Sequence[Difference], groups: dict[str, str]) -> list[Difference]:
    wanted = listed(groups)
    found = [one for one in differing if (one.method, one.where) in wanted]
    assert {(one.method, one.where) for one in found} == wanted
    return found


def test_the_recording_is_whole(recording: Recording) -> None:
    assert len(recording.records) == 12_480
    assert Counter(bool(record.compared) for record in recording.records) == {True: 11_136, False: 1_344}


def test_comparisons_differ_from_the_record_in_the_listed_places_only(differing: tuple[Difference, ...]) -> None:
    groups = (A_BEFORE_B, OPENING, DESCRIPTION, MISSED, REFUSED, TRUNCATED)
    assert sorted((one.method, one.where) for one in differing) == sorted(
        p for group in groups for p in listed(group)
    )
    assert [len(listed(group)) for group in groups] == [126, 2, 2, 3, 1, 2]


def test_what_the_record_counts_for_a_ends_in_b(differing: tuple[Difference, ...]) -> None:
    pattern = re.compile(r"Output \(a\) is better|^ ?Output \(a\)", re.MULTILINE)
    for one in those(differing, A_BEFORE_B):
        assert (one.ours.winner, one.record) == ("second", "first")
        assert pattern.search(one.ours.text), one.where
        assert re.search(r"Output \(b\)( is better|\s*$)", one.ours.text, re.MULTILINE), one.where


def test_the_other_differences_are_as_described(differing: tuple[Difference, ...]) -> None:
    for one in those(differing, OPENING):
        assert (one.ours.winner, one.record) == ("first", "second")
        assert re.match(r"Output \(b\) is better\..*Therefore, Output \(a\) is better\.$", one.ours.text, re.DOTALL)
    assert {one.ours.state for one in those(differing, DESCRIPTION)} == {JudgeState.PARSE_FAILED}
    assert {(one.ours.state, one.record) for one in those(differing, MISSED)} == {(JudgeState.OK, None)}
    assert {one.ours.state for one in those(differing, REFUSED)} == {JudgeState.REFUSED}
    assert {one.ours.state for one in those(differing, TRUNCATED)} == {JudgeState.TRUNCATED}


def test_failures_and_ties_have_no_winner_on_record_either(
    recording: Recording, differing: tuple[Difference, ...]
) -> None:
    read = [read_order(*c) for record in recording.records for c in record.compared or ()]
    differ = Counter(one.ours.state for one in differing)
    assert Counter(verdict.state for verdict in read) == {"ok": 22_202, "parse_failed": 60, "tie": 4, "refused": 4, "truncated": 2}  # fmt: skip
    assert {state: n for state, n in differ.items() if state is not JudgeState.OK} == {"parse_failed": 2, "refused": 1, "truncated": 2}  # fmt: skip


def test_ratings_say_what_is_on_record_but_for_the_listed(recording: Recording) -> None:
    failed: dict[JudgeState, set[tuple[str, str]]] = {JudgeState.REFUSED: set(), JudgeState.PARSE_FAILED: set()}
    for record in recording.records:
        if record.rated:
            one, two = (read_rating(*completion) for completion in record.rated)
            if one.score is None or two.score is None:
                state = one.state if one.failed else two.state
                failed[state].add((f"{record.judge}/{record.method}", place(record)))
            else:  # a tie is on record as a win for each
                won = ("2", "1") if one.score == two.score else ("1", "1") if one.score > two.score else ("2", "2")
                assert record.winners == won
    assert failed == {JudgeState.REFUSED: listed(FILTERED), JudgeState.PARSE_FAILED: listed(OFF_THE_SCALE)}


def on_record(record: Record, i: int) -> OrderVerdict:
    """The winner on record, as a verdict in the order shown."""
    if (winner := record.winners[i]) is None:
        return OrderVerdict(JudgeState.PARSE_FAILED, None)
    return OrderVerdict(JudgeState.OK, "first" if (winner == "1") is (i == 0) else "second")


def test_accuracy_and_consistency_are_those_of_the_winners_on_record(
    recording: Recording, pairs: dict[str, tuple[LabelledPair, ...]], differing: tuple[Difference, ...]
) -> None:
    """For every judge, method and set, with the listed differences as they are on record; without them, 97 of 116
    have no difference at all. Four ties in words have no winner on record: such a pair is left out."""
    excepted = {(one.method, one.where) for one in differing}
    labelled = {pair.task.id: pair for found in pairs.values() for pair in found}
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in recording.records:
        if record.compared:
            groups.setdefault((record.judge, record.method, place(record)[0]), []).append(record)
    untouched = 0
    for (judge, method, key), records in groups.items():
        ours, theirs = [], []
        for record in records:
            read = [read_order(*completion) for completion in record.compared or ()]
            where = [(f"{judge}/{method}", f"{place(record)}{order}") in excepted for order in "-+"]
            if all(verdict.state is not JudgeState.TIE for verdict in read):
                one, two = (on_record(record, i) if where[i] else read[i] for i in range(2))
                ours.append(compared(labelled[record.task_id], both_orders(one, two, 2)))
                recorded = both_orders(on_record(record, 0), on_record(record, 1), calls=2)
                theirs.append(compared(labelled[record.task_id], recorded))
        assert (accuracy(ours), consistency(ours)) == (accuracy(theirs), consistency(theirs))
        untouched += not any(name == f"{judge}/{method}" and where[0] == key for name, where in excepted)
    assert (len(groups), untouched) == (116, 97)


def test_accuracy_and_consistency_by_hand(recording: Recording, pairs: dict[str, tuple[LabelledPair, ...]]) -> None:
    """LLMBar's own formulas on the winners on record, for judges that always gave one."""
    labels = {pair.task.id: "1" if pair.label == "a" else "2" for pair in pairs["LLMBar/Natural"]}
    for judge, method in (("GPT-4", "Vanilla"), ("ChatGPT", "Vanilla_NoRules"), ("LLaMA2", "Reference")):
        records = [r for r in recording.of(judge, method).values() if r.task_id in labels]
        right = sum(winner == labels[r.task_id] for r in records for winner in r.winners)
        same = sum(r.winners[0] == r.winners[1] for r in records)
        judged = [
            compared(pair, both_orders(read_order(*r.compared[0]), read_order(*r.compared[1]), 2))
            for r, pair in zip(records, pairs["LLMBar/Natural"], strict=True)
            if r.compared
        ]
        found, agreed = accuracy(judged), consistency(judged)
        assert found is not None
        assert agreed is not None
        assert (found.value, agreed.value) == (right / 200, same / 100)


def test_the_accuracy_of_ratings_is_that_of_the_winners_on_record(
    recording: Recording, pairs: dict[str, tuple[LabelledPair, ...]]
) -> None:
    excepted = listed(FILTERED) | listed(OFF_THE_SCALE)
    for name in NAMES.values():
        by_id = {pair.task.id: pair for pair in pairs[name]}
        for judge, method in recording.methods():
            records = [r for r in recording.of(judge, method).values() if r.task_id in by_id and r.rated]
            records = [r for r in records if (f"{judge}/{method}", place(r)) not in excepted]
            if records:
                found = accuracy(
                    [
                        rated(by_id[r.task_id], read_rating(*r.rated[0]), read_rating(*r.rated[1]))
                        for r in records
                        if r.rated
                    ]
                )
                right = [w == ("1" if by_id[r.task_id].label == "a" else "2") for r in records for w in r.winners]
                assert found is not None
                assert found.value == pytest.approx(sum(right) / len(right))


async def test_a_replayed_pair_is_found_in_either_order_and_mirrored(
    recording: Recording, pairs: dict[str, tuple[LabelledPair, ...]]
) -> None:
    natural = pairs["LLMBar/Natural"]
    judge = recorded_judge(recording, natural, judge="ChatGPT", method="Vanilla")
    assert isinstance(judge, RecordedPairwise)
    mirrored = {"a": "b", "b": "a", None: None}
    for pair in natural:
        one = await judge.compare(pair.task, pair.a, pair.b)
        other = await judge.compare(pair.task, pair.b, pair.a)
        assert (other.state, other.winner, other.orders) == (one.state, mirrored[one.winner], one.orders[::-1])


async def test_a_replayed_rating_is_found_by_the_answer(
    recording: Recording, pairs: dict[str, tuple[LabelledPair, ...]]
) -> None:
    natural = pairs["LLMBar/Natural"]
    judge = recorded_judge(recording, natural, judge="GPT-4", method="Rating")
    assert isinstance(judge, RecordedPointwise)
    ratings: list[Rating] = [await judge.rate(pair.task, pair.a) for pair in natural]
    assert all(rating.score is not None and 0 <= rating.score <= 9 for rating in ratings)


# -- the gate on real judges -------------------------------------------------------------------------------------


class RecordedCalibration(NamedTuple):
    judge: str
    calibration: Calibration
    gate: GateVerdict


@pytest.fixture(scope="module")
def rows(recording: Recording, pairs: dict[str, tuple[LabelledPair, ...]]) -> dict[str, RecordedCalibration]:
    natural = pairs["LLMBar/Natural"]
    ids = {pair.task.id for pair in natural}
    present = {(record.judge, record.method) for record in recording.records if record.task_id in ids}
    found: dict[str, RecordedCalibration] = {}
    for judge, method in sorted(present):
        if judge in ("GPT-4", "ChatGPT", "LLaMA2"):
            replayed = recorded_judge(recording, natural, judge=judge, method=method)
            calibration = asyncio.run(calibrate(replayed, natural, seed=0))
            found[f"{judge}/{method}"] = RecordedCalibration(judge, calibration, gate(calibration))
    return found


def value(calibration: Calibration, name: str) -> float:
    return float(getattr(calibration, name).value)


def test_gpt4_passes_the_gate_with_every_prompt(rows: dict[str, RecordedCalibration]) -> None:
    gpt4 = {name: row.gate for name, row in rows.items() if row.judge == "GPT-4"}
    assert len(gpt4) == 15
    assert [name for name, verdict in gpt4.items() if not verdict.passed] == []
    vanilla = rows["GPT-4/Vanilla"].calibration
    assert {name: value(vanilla, name) for name in ("accuracy", "consistency", "first", "kappa")} == pytest.approx(
        {"accuracy": 0.955, "consistency": 0.95, "first": 0.505, "kappa": 0.91}
    )


def test_chatgpt_without_rules_does_not_pass_and_it_says_why(rows: dict[str, RecordedCalibration]) -> None:
    row = rows["ChatGPT/Vanilla_NoRules"]
    assert not row.gate.passed
    assert [failure.split(":")[0] for failure in row.gate.failures] == ["consistency", "P(first)"]
    assert {name: value(row.calibration, name) for name in ("accuracy", "consistency", "first")} == pytest.approx(
        {"accuracy": 0.79, "consistency": 0.68, "first": 0.64}
    )


def test_llama2_passes_with_no_prompt(rows: dict[str, RecordedCalibration]) -> None:
    assert [name for name, row in rows.items() if row.judge == "LLaMA2" and row.gate.passed] == []
