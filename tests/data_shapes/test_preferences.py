"""Files of preferences and of people's labels as people have them: each is read by the name of its layout and without
it, and its wrong twin is refused with a message that says what to correct."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from stillroom.common.preferred import PreferenceRows, Preferred, Reading, read_preferences
from stillroom.errors import InputError
from stillroom.judges.human_labels import load_labelled, read_labelled

FOLDER = Path(__file__).parent


class Shape(NamedTuple):
    """`better`, `worse`: of the first row; `labels`: of all of them (`-`: a single answer). `wrong`: what is said of
    the wrong twin. `found`: whether the layout can be told without its name."""

    file: str
    layout: str
    labels: str
    wrong: str
    prefer: str | None = None
    found: bool = True
    better: str = "4"
    worse: str = "5"


SHAPES = [
    Shape("hh_rlhf.jsonl", "hh_rlhf", "aa", r"wrong\.jsonl:2: no_common_prompt: the two conversations share no question"),
    Shape("hh_prompt.jsonl", "hh_rlhf", "aa", r":2: missing_field: no field 'rejected' .*did you mean 'rejeted'"),
    Shape("implicit.jsonl", "implicit_prompt", "aa", r":2: no_common_prompt: the two conversations share no question"),
    Shape("implicit_text.jsonl", "implicit_prompt", "a", "no_common_prompt: the texts share no first words: 'Four.'", found=False, worse="42"),
    Shape("pairs.jsonl", "pairs", "aa", ":2: same_text: both answers are the same text: '6'"),
    Shape("pairs_turns.jsonl", "pairs", "aa", ":2: no_common_prompt: the field 'chosen' does not begin with the prompt"),
    Shape("pairs_sharegpt.jsonl", "pairs", "a", ":1: empty_text: the answer in 'rejected' is empty"),
    Shape("ultrafeedback.jsonl", "ultrafeedback", "at", ":2: missing_field: an answer of 'completions' has no 'overall_score'"),
    Shape("binarized.jsonl", "ultrafeedback", "at", ":2: wrong_type: the field 'rejected' does not end with an answer"),
    Shape("helpsteer2.jsonl", "helpsteer", "at", ":2: missing_field: no field 'helpfulness' .*did you mean 'helpfullness'"),
    Shape("helpsteer3.jsonl", "helpsteer", "abt", ":2: unknown_label: the field 'overall_preference' is 'second', not a number"),
    Shape("arena.jsonl", "arena", "abtt", ":2: unknown_label: the label is 'model_c', which is not understood: it may be A, B or tie"),
    Shape("arena_table.csv", "arena", "abt", "wrong.csv:3: unknown_label: not one winner: winner_model_a '0', winner_model_b '1', winner_tie '1'"),
    Shape("nectar.jsonl", "nectar", "bb", ":2: unknown_label: the field 'rank' is 'first', not a number"),
    Shape("pku.jsonl", "pku", "ab", ":2: unknown_label: the field 'better_response_id' is 2, expected 0 or 1", prefer="better"),
    Shape("kto.jsonl", "kto", "a-", ":2: unknown_label: the label is 'maybe', expected true or false"),
    Shape("kto_turns.jsonl", "kto", "a", ":2: empty_text: the field 'completion' is empty"),
    Shape("scores.jsonl", "scores", "a-", ":2: unknown_label: the field 'reward' is 'bad', not a number"),
    Shape("score_lists.jsonl", "scores", "b", ":1: wrong_type: 3 generations, but 2 ratings"),
    Shape("scores.tsv", "scores", "a", r"wrong\.tsv:3: not_read: 2 cells, the header has 3"),
    Shape("shp.jsonl", "shp", "ab", ":2: unknown_label: the field 'labels' is -1, expected 1 or 0"),
    Shape("packed.jsonl.gz", "hh_rlhf", "aa", r"wrong\.jsonl\.gz:2: not_read: not JSON: "),
]  # fmt: skip
LABELS = [
    Shape("letters.csv", "comparison", "abt", r"wrong\.csv:3: unknown_label: the label is 'X'.* A, B or tie, 1 or 2, left or right"),
    Shape("numbers.tsv", "comparison", "abt", r"wrong\.tsv:4: a label is '0', and nobody can tell"),
    Shape("sides.csv", "comparison", "abt", r":3: duplicate_id: the id '7' is that of sides\.wrong\.csv:2"),
    Shape("models.csv", "comparison", "abt", "(?s):3: unknown_label: the label is 'claude'.*:4: .*'GPT-4', which wrote both answers: write A or B"),
    Shape("people.csv", "comparison", "abt", ":3: no_label: no label"),
    Shape("lists.jsonl", "comparison", "abt", ":2: unknown_label: the label is {'by': 'Ann'}, an object"),
    Shape("from_zero.jsonl", "comparison", "abt", ":2: unknown_label: the label is 2"),
    Shape("answers.csv", "comparison", "abt", r"missing_field: no two answers \(a and b, answer_a and answer_b"),
]  # fmt: skip
ALL = [("preferences", shape) for shape in SHAPES] + [("labels", shape) for shape in LABELS]


def wrong_twin(file: str) -> str:
    name, _, ending = file.partition(".")
    return f"{name}.wrong.{ending}"


def load(kind: str, file: str, shape: Shape, *, by_name: bool = True) -> PreferenceRows:
    how = Reading(layout=shape.layout if by_name else None, prefer=shape.prefer)
    return read_preferences(FOLDER / kind / file, "the pairs", how)


def label(what: Preferred) -> str:
    """a, b or t: of two answers the winner, of more the best one's place; -: of a single one."""
    scores = [answer.score or 0.0 for answer in what.answers]
    if len(scores) < 2:
        return "-"
    winner = what.winner or ("tie" if max(scores) == min(scores) else "abc"[scores.index(max(scores))])
    return winner[0]


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(("kind", "shape"), ALL, ids=lambda each: each.file if isinstance(each, Shape) else each)
def test_a_shape_is_read_by_name_and_by_its_content(kind: str, shape: Shape, by_name: bool) -> None:
    if not by_name and not shape.found:
        with pytest.raises(
            InputError, match=r"cannot be told: the first rows are of none \(row 1 has: 'chosen', 'rej"
        ):
            load(kind, shape.file, shape, by_name=False)
        return
    found = load(kind, shape.file, shape, by_name=by_name)
    assert found.layout == shape.layout
    assert "".join(label(row.what) for row in found.rows) == shape.labels
    first = found.rows[0].what
    assert first.prompt[-1].content in ("2 + 2?", "Question: 2 + 2? Answer:")
    texts = [answer.text.strip() for answer in first.answers]
    assert texts["abc".index(shape.labels[0])] == shape.better
    assert shape.worse in texts
    told = [note for note in found.notes() if note.startswith(f"rows are read with layout: {shape.layout} (")]
    assert bool(told) == (not by_name)


@pytest.mark.parametrize(("kind", "shape"), ALL, ids=lambda each: each.file if isinstance(each, Shape) else each)
def test_its_wrong_twin_is_refused_with_what_to_correct(kind: str, shape: Shape) -> None:
    with pytest.raises(InputError, match=shape.wrong) as caught:
        load(kind, wrong_twin(shape.file), shape)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("shape", LABELS, ids=lambda shape: shape.file)
def test_labels_calibrate_a_judge(shape: Shape) -> None:
    pairs = load_labelled(FOLDER / "labels" / shape.file)
    assert [pair.label[0] for pair in pairs] == list(shape.labels)
    assert (pairs[0].a.text, pairs[0].b.text) == ("4", "5")


def test_every_file_is_in_the_table() -> None:
    for kind, shapes in (("preferences", SHAPES), ("labels", LABELS)):
        names = {name for shape in shapes for name in (shape.file, wrong_twin(shape.file))}
        names |= {"sheet.wrong.xlsx"} if kind == "labels" else set()
        assert {path.name for path in (FOLDER / kind).iterdir()} == names


def test_a_spreadsheet_that_is_no_text_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match="is a zip archive or a spreadsheet: unpack it, or save the sheet as CSV"):
        load_labelled(FOLDER / "labels" / "sheet.wrong.xlsx")


def test_what_is_left_out_tied_unpaired_and_voted_is_counted() -> None:
    hh = load("preferences", "hh_rlhf.jsonl", SHAPES[0])
    assert hh.counts()["left_out"] == {"several_turns": 1}  # a good row: never refused
    assert hh.rows[1].what.answers[0].text == "6\u2028of course"  # U+2028 ends no line
    kto = read_preferences(FOLDER / "preferences" / "kto.jsonl", "the pairs")
    assert (kto.counts()["unpaired"], kto.counts()["joined"], kto.seen) == (1, 1, 3)
    people = read_labelled(FOLDER / "labels" / "people.csv")
    assert (people.counts["voted"], people.counts["split"], people.counts["ties"]) == (3, 2, 1)
    assert "3 were judged more than once, 2 differently: most decide" in people.notes
    nectar = read_preferences(FOLDER / "preferences" / "nectar.jsonl", "the pairs")
    assert "these preferences are GPT-4's, not people's" in list(nectar.notes())


def test_what_decides_is_a_named_choice() -> None:
    pku = FOLDER / "preferences" / "pku.jsonl"
    with pytest.raises(InputError, match=r"pku\.jsonl:1: .*say which counts, with prefer: better or prefer: safer"):
        read_preferences(pku, "the pairs")
    safer = read_preferences(pku, "the pairs", Reading(prefer="safer"))
    assert [row.what.winner for row in safer.rows] == ["b", "b"]
    with pytest.raises(InputError, match="prefer: nicer is not known to the layout pku: choose one of better, safer"):
        read_preferences(pku, "the pairs", Reading(prefer="nicer"))
    finer = read_preferences(
        FOLDER / "preferences" / "ultrafeedback.jsonl", "x", Reading(prefer="fine-grained_score")
    )
    assert "".join(label(row.what) for row in finer.rows) == "ab"
    honest = read_preferences(FOLDER / "preferences" / "ultrafeedback.jsonl", "x", Reading(prefer="truthfulness"))
    assert [answer.score for answer in honest.rows[0].what.answers] == [5.0, 1.0, None]  # "N/A"


def test_bad_rows_may_be_skipped_and_a_wrong_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    found = read_preferences(FOLDER / "preferences" / "arena.wrong.jsonl", "the pairs", Reading(bad_rows="skip"))
    assert (len(found.rows), found.counts()["left_out"]) == (1, {"unknown_label": 1})
    with pytest.raises(InputError, match=r"no layout.* 'hh_rhlf'; did you mean 'hh_rlhf'\?"):
        read_preferences(FOLDER / "preferences" / "hh_rlhf.jsonl", "the pairs", Reading(layout="hh_rhlf"))
    two = (FOLDER / "preferences" / "pairs.jsonl").read_text() + (FOLDER / "preferences" / "shp.jsonl").read_text()
    (tmp_path / "mixed.jsonl").write_text(two, encoding="utf-8")
    with pytest.raises(InputError, match="cannot be told: the first rows are of pairs and of shp"):
        read_preferences(tmp_path / "mixed.jsonl", "the pairs")
