"""A recording made by hand: finding a pair, mirroring it, and what is wrong with a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import Attempt, Task, user
from stillroom.errors import InputError, MissingFile
from stillroom.judges.human_labels import LabelledPair, load_labelled
from stillroom.judges.jury import JurySettings
from stillroom.judges.recorded import (
    RecordedJudgeSettings,
    RecordedPairwise,
    RecordedPointwise,
    load_recording,
    recorded_judge,
)
from stillroom.judges.records import JudgeState
from stillroom.sampling.scorers.base import Place

ITEMS = [{"input": "Say hello.", "output_1": "Hello.", "output_2": "Bye.", "label": 1}]


def answer(text: str) -> Attempt:
    return Attempt("x", 0, text, None, "stop", 0, 0, None, 0.0, "t")


def order(text: str, winner: str | None) -> dict[str, Any]:
    return {"completion": [text, "stop"], "winner": winner}


COMPARED = {
    "dataset": "Mine",
    "idx": 0,
    "judge": "J",
    "method": "CoT",
    "label": 1,
    "results": [
        ["some questions", "stop"],
        {"swap = False": order("Output (a)", "1"), "swap = True": order("Output (b)", "1")},
    ],
}
RATED = COMPARED | {
    "method": "Rating",
    "results": [
        {
            "score_1": ["8", "stop"],
            "score_2": ["x", "stop"],
            "swap = False": {"winner": "1"},
            "swap = True": {"winner": "1"},
        }
    ],
}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "judgements.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), "utf-8")
    (folder / "Mine.json").write_text(json.dumps(ITEMS), "utf-8")
    return path


def open_recorded(path: Path, dataset: Path, method: str) -> RecordedPairwise | RecordedPointwise:
    return recorded_judge(load_recording(path), load_labelled(dataset), judge="J", method=method)


async def test_a_comparison_is_replayed_with_the_requests_it_took(tmp_path: Path) -> None:
    judge = open_recorded(write(tmp_path, COMPARED, RATED), tmp_path / "Mine.json", "CoT")
    assert isinstance(judge, RecordedPairwise)
    task = Task("Mine/0", user("Say hello."), None, "")
    one = await judge.compare(task, answer("Hello."), answer("Bye."))
    assert (one.state, one.winner, one.calls) == (JudgeState.OK, "a", 3)
    assert [verdict.winner for verdict in one.orders] == ["first", "second"]
    other = await judge.compare(task, answer("Bye."), answer("Hello."))
    assert (other.winner, other.orders) == ("b", one.orders[::-1])
    await judge.close()


@pytest.mark.parametrize(
    ("task_id", "a", "b"),
    [
        ("Mine/1", "Hello.", "Bye."),
        ("Mine/0", "Hello.", "Something else."),
        ("Mine/0", "Hello.", "Hello."),
    ],
)
async def test_what_is_not_on_record_is_an_error_of_the_request(tmp_path: Path, task_id: str, a: str, b: str) -> None:
    judge = open_recorded(write(tmp_path, COMPARED), tmp_path / "Mine.json", "CoT")
    assert isinstance(judge, RecordedPairwise)
    found = await judge.compare(Task(task_id, user("Say hello."), None, ""), answer(a), answer(b))
    assert (found.state, found.winner, found.calls) == (JudgeState.API_ERROR, None, 0)
    assert "not on record" in found.orders[0].detail


async def test_a_rating_is_replayed(tmp_path: Path) -> None:
    judge = open_recorded(write(tmp_path, RATED), tmp_path / "Mine.json", "Rating")
    assert isinstance(judge, RecordedPointwise)
    task = Task("Mine/0", user("Say hello."), None, "")
    ratings = [await judge.rate(task, answer(text)) for text in ("Hello.", "Bye.", "Something else.")]
    assert [(r.state, r.score) for r in ratings] == [("ok", 8.0), ("parse_failed", None), ("api_error", None)]
    assert judge.scale == (0.0, 9.0)


def test_the_identity_is_judge_method_and_content(tmp_path: Path) -> None:
    path = write(tmp_path, COMPARED)
    one = open_recorded(path, tmp_path / "Mine.json", "CoT").identity
    assert one.startswith("recorded:J/CoT@")
    path.write_text(path.read_text("utf-8").replace("some questions", "other questions"), "utf-8")
    assert open_recorded(path, tmp_path / "Mine.json", "CoT").identity != one


def test_a_line_separator_within_a_text_ends_no_line(tmp_path: Path) -> None:
    row = COMPARED | {"method": "A\u2028B"}
    text = json.dumps([row, RATED], ensure_ascii=False)
    found = load_recording(write(tmp_path, json.dumps(row, ensure_ascii=False)))
    assert [record.method for record in found.records] == ["A\u2028B"]
    assert len(load_recording(write(tmp_path, text)).records) == 2  # an array, as any reader of rows takes it


def test_packed_and_plain_are_the_same_records(tmp_path: Path) -> None:
    plain = write(tmp_path, COMPARED, RATED)
    packed = tmp_path / "judgements.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert load_recording(packed).records == load_recording(plain).records


BAD = {
    "no JSON": ("{", "not JSON: "),
    "no results": (json.dumps({k: v for k, v in COMPARED.items() if k != "results"}), "no 'results'"),
    "no steps": (json.dumps(COMPARED | {"results": []}), "list index out of range"),
    "no completion": (json.dumps(COMPARED | {"results": [{"swap = False": {}, "swap = True": {}}]}), "no 'completion'"),
    "a completion that is not text": (json.dumps(COMPARED | {"results": [{"swap = False": order("x", None), "swap = True": {"completion": [1, "stop"], "winner": None}}]}), "both text"),
    "another kind of thing": ("[]", "an array, not an object"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "message"), BAD.values(), ids=BAD)
def test_a_bad_line_is_named_or_left_out_and_counted(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, COMPARED, line, RATED)
    said = r"^1 row holds no recorded judgement:\n.*\nFix it, or set `bad_rows: skip`"
    with pytest.raises(InputError, match=said) as error:
        load_recording(path)
    assert f"{path}:2: " in str(error.value)
    assert message in str(error.value)
    recording = load_recording(path, "skip")
    assert recording.counts() == {"records": 2, "left_out": 1}
    [note] = recording.notes
    assert note.startswith(f"recorded judgements: 1 bad row left out, the first {path}:2: ")
    assert message in note


def test_all_bad_lines_are_told_together_and_a_file_of_nothing_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_recording(write(tmp_path, COMPARED, *["{"] * 12))
    assert "12 rows hold no recorded judgement" in str(error.value)
    assert "judgements.jsonl:11: not JSON" in str(error.value)
    assert "and 2 more\nFix them" in str(error.value)
    with pytest.raises(InputError, match=r"^1 row holds no recorded judgement:\n.*:1: no 'results'$"):
        load_recording(write(tmp_path, {}), "skip")


def test_a_judge_and_a_jury_say_what_was_left_out(tmp_path: Path) -> None:
    write(tmp_path, COMPARED, "{", COMPARED | {"method": "Vanilla"})
    (tmp_path / "Mine.json").write_text(json.dumps([*ITEMS, {"input": "?"}]))
    one = {"kind": "recorded", "path": "judgements.jsonl", "judge": "J", "method": "CoT", "pairs": "Mine.json"}
    place = Place(None, tmp_path)
    with pytest.raises(InputError, match="no recorded judgement"):
        RecordedJudgeSettings.model_validate(one).make(place)
    settings = RecordedJudgeSettings.model_validate({**one, "bad_rows": "skip"})
    recorded, labelled = settings.make(place).notes
    assert "1 bad row left out" in recorded
    assert "1 rows left out" in labelled
    members = [{**one, "bad_rows": "skip", "method": method} for method in ("CoT", "Vanilla")]
    jury = JurySettings.model_validate({"kind": "jury", "members": members}).make(place)
    assert jury.notes == (recorded, labelled) * 2


def test_a_file_that_is_missing_damaged_or_empty(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        load_recording(tmp_path / "nowhere.jsonl")
    damaged = tmp_path / "damaged.jsonl.gz"
    damaged.write_bytes(gzip.compress(b"{}" * 1000)[:-12])
    with pytest.raises(InputError, match="damaged"):
        load_recording(damaged)
    with pytest.raises(InputError, match="empty"):
        load_recording(write(tmp_path))


def test_a_judge_that_is_not_on_record_is_refused_with_those_that_are(tmp_path: Path) -> None:
    recording = load_recording(write(tmp_path, COMPARED, RATED))
    with pytest.raises(InputError, match="J/CoT, J/Rating"):
        recording.of("J", "Swap")
    stranger = LabelledPair(Task("Other/0", user("?"), None, ""), answer("x"), answer("y"), "a")
    with pytest.raises(InputError, match="such as 'Mine/0'"):
        recorded_judge(recording, [stranger], judge="J", method="CoT")
