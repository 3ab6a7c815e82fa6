"""Output distillation from end to end: labels and plain outputs of a recorded teacher become rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import stillroom
from stillroom.cli.show import show_status
from stillroom.common.printing import terminal
from stillroom.errors import RecipeError, RunFolderError
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.flows.preferences import PreferenceResult
from stillroom.pipeline.flows.traces import RunResult
from stillroom.pipeline.stages.labels import Balance, LabelReport
from tests.pipeline.runs import run

ROOT = Path(__file__).parents[2]
ALONE = ["student=null", "evaluate=null"]

# What each ticket's draws say; a "?" gives no label, and gold is never what the vote of `d` says.
SAID = {
    "a": ["red", "red", "red"],
    "b": ["red", "blue", "red"],
    "c": ["blue", "?", "blue"],
    "d": ["red", "red", "red"],
}
GOLD = {"a": "red", "b": "red", "c": "blue", "d": "blue"}
LABEL = {"kind": "label", "labels": ["red", "blue", "green"], "gold": "measure"}


def recipe(folder: Path, **changes: Any) -> Path:
    """A recipe of labels, its tickets and its recording."""
    tasks = [{"id": name, "question": f"ticket {name}", "answer": gold} for name, gold in GOLD.items()]
    draws = [
        {"task_id": name, "index": n, "text": text} for name, said in SAID.items() for n, text in enumerate(said)
    ]
    for name, rows in (("tasks", tasks), ("draws", draws)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    keys: dict[str, Any] = {
        "name": "labels",
        "tasks": {"source": "jsonl", "path": "tasks.jsonl", "id": "id"},
        "teacher": {"kind": "recorded", "path": "draws.jsonl"},
        "scorer": LABEL,
        "keep": {"policy": "fixed", "attempts": 3, "per_task": 1},
        "filters": ["finished", "agreement"],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(keys | changes), encoding="utf-8")
    return path


def rows_of(result: RunResult) -> list[tuple[str, str]]:
    return [(row["task_id"], row["completion"][0]["content"]) for row in result.to_dataset().to_list()]


def labels_of(result: RunResult) -> LabelReport:
    assert result.labels is not None
    return result.labels


def test_a_teachers_labels_are_learned_from_as_they_are_and_gold_only_measures(tmp_path: Path) -> None:
    result = run(recipe(tmp_path), out=tmp_path / "run")
    assert rows_of(result) == [("a", "red"), ("c", "blue"), ("d", "red")]  # d is wrong, b is left out
    found = labels_of(result)
    assert found.balance == {"red": Balance(8, 2, 2), "blue": Balance(3, 1, 2), "green": Balance(0, 0, 0)}
    assert (found.unlabelled, found.silent, found.tied) == (1, 0, 0)
    assert [(c.tasks, c.rows, c.right and c.right.value) for c in found.confidence] == [(3, 3, 2 / 3), (1, 0, 1.0)]
    lines = [json.loads(line) for line in (tmp_path / "run" / "labels.jsonl").read_text().splitlines()]
    assert lines[1] == {
        "task_id": "b",
        "votes": {"red": 2, "blue": 1},
        "label": "red",
        "agreement": 2 / 3,
        "tied": False,
        "rows": 0,
        "gold": "red",
        "right": True,
    }
    assert json.loads((tmp_path / "run" / "labels.json").read_text()) == json.loads(json.dumps(found.as_dict()))
    rejects = [
        json.loads(line) for line in (tmp_path / "run" / "rejects" / "agreement.jsonl").read_text().splitlines()
    ]
    assert {(row["task_id"], row["reason"]) for row in rejects} == {("b", "disagreement")}


def test_status_and_the_data_card_show_balance_and_agreement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(tmp_path)
    result = run(path, out=tmp_path / "run")
    found = stillroom.status(tmp_path / "run")
    assert found.labels == result.labels
    assert found.as_dict()["labels"] == json.loads((tmp_path / "run" / "labels.json").read_text())
    show_status(found)
    told = " ".join(capsys.readouterr().out.split())
    assert "red 8 73 % 2 67 % 2" in told
    assert "1 draws without one label, 0 tasks without any" in told
    card = (tmp_path / "run" / "sft" / "README.md").read_text(encoding="utf-8")
    assert "| red | 8 | 73 % | 2 | 67 % | 2 |" in card
    assert r"| 100 % | 3 | 3 | 66.7 % | \[20.8, 93.9\] |" in card
    assert "\n1 draws without one label, 0 tasks without any.\n" in card
    run(path, set=["scorer={kind: none}", "filters=[finished]"], out=tmp_path / "run")  # of labels no longer
    assert stillroom.status(tmp_path / "run").labels is None
    assert not (tmp_path / "run" / "labels.jsonl").exists()
    assert "## Labels" not in (tmp_path / "run" / "sft" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["{", "[]", '{"balance": {}}'])
def test_a_damaged_report_is_refused_with_what_to_do(tmp_path: Path, damage: str) -> None:
    run(recipe(tmp_path), out=tmp_path / "run")
    (tmp_path / "run" / "labels.json").write_text(damage)
    with pytest.raises(RunFolderError, match=r"labels\.json is not what a run writes .*delete it, or run"):
        stillroom.status(tmp_path / "run")


def test_a_vote_takes_a_draw_of_the_majority_not_the_first(tmp_path: Path) -> None:
    draws = [{"task_id": "a", "index": n, "text": text} for n, text in enumerate(["blue", "red", "red"])]
    path = recipe(tmp_path, filters=["finished", {"agreement": "majority"}])
    (tmp_path / "draws.jsonl").write_text("".join(json.dumps(row) + "\n" for row in draws), encoding="utf-8")
    result = run(path, set=["tasks.limit=1"], out=tmp_path / "run")
    assert [(row["index"], row["completion"][0]["content"]) for row in result.to_dataset().to_list()] == [(1, "red")]


def test_required_gold_chooses_and_tasks_without_gold_have_no_column_of_it(tmp_path: Path) -> None:
    chosen = run(recipe(tmp_path, scorer=LABEL | {"gold": "require"}), out=tmp_path / "run")
    assert [name for name, _ in rows_of(chosen)] == ["a", "c"]  # d's draws agree on what gold refuses
    without = run(tmp_path / "recipe.yaml", set=["tasks.reference=null"], out=tmp_path / "other")
    assert all(each.gold is None for each in labels_of(without).balance.values())
    assert all(each.right is None for each in labels_of(without).confidence)


def test_no_scorer_takes_every_finished_output_and_its_votes_are_whole_answers(tmp_path: Path) -> None:
    path = recipe(tmp_path, scorer={"kind": "none"}, filters=["finished"])
    with (tmp_path / "draws.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"task_id": "e", "text": "cut o", "finish_reason": "length"}) + "\n")
    with (tmp_path / "tasks.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "e", "question": "ticket e", "answer": None}) + "\n")
    result = run(path, set=["tasks.reference=null"], out=tmp_path / "run")
    assert rows_of(result) == [(name, said[0]) for name, said in SAID.items()]  # the cut one is unscored
    assert result.labels is None
    voted = run(path, set=["tasks.reference=null", "filters=[finished, {agreement: {by: text}}]"], out=tmp_path / "v")
    assert [name for name, _ in rows_of(voted)] == ["a", "d"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scorer": {"kind": "none"}}, r"agreement compares labels, and scorer.kind is none.*\{by: text\}"),
        ({"keep": {"per_task": 1, "max_attempts": 8}}, r"needs 2 draws of a task, and keep may stop after 1"),
        ({"keep": {"policy": "fixed", "attempts": 1}}, r"keep may stop after 1: set keep: \{policy: fixed"),
        ({"filters": [{"agreement": "plurality"}]}, r"unanimous.*majority"),
    ],
)
def test_an_agreement_that_could_keep_nothing_is_refused_before_it_is_paid_for(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe(recipe(tmp_path, **changes))


def test_gold_that_only_measures_pays_for_no_answer_again_and_others_keep_their_identity(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    run(path, out=tmp_path / "run")
    plans = [stillroom.status(tmp_path / "run", set=[f"scorer.gold={gold}"]).plan for gold in ("measure", "require")]
    measures, requires = [plan and plan.as_dict()["asked"] for plan in plans]
    assert measures == requires == 1  # of c, which lacks a label; the recording has no more
    required = load_recipe(path, ["scorer.gold=require"]).recipe.scorer.identity(tmp_path)
    assert ":any" not in required
    assert load_recipe(path).recipe.scorer.identity(tmp_path) == f"{required}:any"


# -- the shipped recipe -------------------------------------------------------------------------------------------


def test_the_shipped_recipe_brings_its_data_and_distils_it_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("support_labels", set=ALONE)
    assert (result.tasks, result.attempts, result.rows) == (180, 900, 104)
    found = labels_of(result)
    assert sum(each.rows for each in found.balance.values()) == 104
    first, *others = found.confidence
    assert first.agreement == 1.0
    assert all(each.rows == 0 for each in others)
    voted = run("support_labels", set=[*ALONE, "filters=[finished, {agreement: majority}]"], out=tmp_path / "voted")
    assert voted.rows > result.rows


def test_the_same_tickets_as_traces_and_as_preferences_can_be_run(tmp_path: Path) -> None:
    folder = ROOT / "recipes" / "support_labels"
    traces = run(folder / "traces.yaml", set=ALONE, out=tmp_path / "traces")
    assert (traces.tasks, traces.rows) == (180, 165)
    found = stillroom.run(folder / "preferences.yaml", set=ALONE, out=tmp_path / "pairs", trust=True)
    assert isinstance(found, PreferenceResult)
    assert found.pairs == 81
    compared = stillroom.compare(tmp_path / "traces", tmp_path / "pairs").lines
    assert [(line.rows, line.replayed, line.metric) for line in compared] == [(165, True, None), (81, True, None)]
    pairs = stillroom.audit(tmp_path / "pairs").rows
    assert {row["chosen"][0]["content"] for row in pairs} <= {
        "billing",
        "delivery",
        "account",
        "fault",
        "cancel",
        "feature",
    }


def test_the_tables_fit_80_columns(tmp_path: Path) -> None:
    result = run(recipe(tmp_path), out=tmp_path / "run")
    with (tmp_path / "shown").open("w", encoding="utf-8") as file:
        console = terminal(file=file)
        console.width = 80
        labels_of(result).show(console)
    lines = (tmp_path / "shown").read_text(encoding="utf-8").splitlines()
    assert any("vote right" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_the_shipped_data_is_what_its_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "support_tickets.py", tmp_path], check=True)
    for name in ("tickets.jsonl", "recording.jsonl"):
        assert (tmp_path / name).read_bytes() == (ROOT / "recipes" / "support_labels" / name).read_bytes()
