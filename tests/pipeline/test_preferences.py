"""Whole runs of the preference path without a student: candidates, a judge over HTTP, pairs, audit, and their resume."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import AuditFailed, GateFailed, InputError, Interrupted, RecipeError, RunError
from stillroom.judges.records import FAILURES
from stillroom.pipeline.config.load import load_any, load_recipe
from stillroom.pipeline.flows.audit import audit, calibrate
from stillroom.pipeline.flows.preferences import PreferenceResult
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.run.progress import Display
from tests.conftest import Body, ModelServer, Reply, command, completion, stillroom

QUIET = Display(quiet=True)
THINGS = (
    "boat",
    "clock",
    "garden",
    "kettle",
    "ladder",
    "market",
    "needle",
    "orchard",
    "pencil",
    "river",
    "spade",
    "tower",
)
STYLES = {
    "plain": "The {0} stood by the wall. We used it each day, and it never failed us. It was a good {0}.",
    "long": "It is important to note that, in order to utilise the {0}, one must endeavour to leverage its capabilities, "
    "which are, needless to say, absolutely incredible in every conceivable respect and beyond all description.",
    "odd": "A {0}! What can I say of a {0} that others did not? Ask those who know; I only sold it, twice, and gladly.",
}


def write_prompts(folder: Path, **changes: Any) -> Path:
    """Twelve prompts, three recorded sources with an answer each, and a recipe, whose path is given."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = [f"Write two sentences about a {thing}." for thing in THINGS]
    _jsonl(folder / "prompts.jsonl", [{"prompt": prompt} for prompt in prompts])
    for name, style in STYLES.items():
        said = [{"prompt": p, "text": style.format(thing)} for p, thing in zip(prompts, THINGS, strict=True)]
        _jsonl(folder / f"{name}.jsonl", said)
    recipe = {
        "name": "notes",
        "tasks": {"source": "jsonl", "path": "prompts.jsonl", "prompt": "prompt", "reference": None, "test": 3},
        "candidates": [{"name": name, "teacher": recorded(name)} for name in STYLES],
        "judge": {"kind": "style"},
        "pairs": {"strategy": "best_worst"},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe | changes), encoding="utf-8")
    return path


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def recorded(name: str) -> Body:
    return {"kind": "recorded", "path": f"{name}.jsonl", "prompt": "prompt", "model": name}


def llm_judge(server: ModelServer, **more: Any) -> Body:
    teacher = {"kind": "openai", "model": "judge", "base_url": server.url, "concurrency": 4, "retry": {"attempts": 1}}
    return {"kind": "llm", "rubric": "helpfulness", "teacher": teacher | {"sampling": {"temperature": 0}}, **more}


def rating(body: Body) -> str:
    """The verdict of a judge that likes plain sentences, as a server gives it."""
    asked = body["messages"][0]["content"]
    return f"[[helpfulness: {5 if 'stood by the wall' in asked else 1 if 'in order to' in asked else 3}]]"


def start(recipe: Path, out: Path, **more: Any) -> PreferenceResult:
    result = run(recipe, out=out, display=QUIET, **more)
    assert isinstance(result, PreferenceResult)
    return result


def rows_of(out: Path, split: str = "train") -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(out / "dpo" / f"{split}.parquet").to_pylist()
    return rows


# -- what lands on disk ------------------------------------------------------------------------------------------


def test_a_run_writes_pairs_audit_card_and_what_was_left_out(tmp_path: Path) -> None:
    result = start(write_prompts(tmp_path), tmp_path / "run")
    assert (result.prompts, result.candidates, result.pairs, result.test_pairs) == (12, 36, 9, 3)
    names = {p.relative_to(result.folder).as_posix() for p in result.folder.rglob("*") if p.is_file()}
    wanted = {"recipe.yaml", "run.json", "ledger.sqlite", "audit.json", "dpo/train.parquet", "dpo/test.parquet"}
    assert wanted | {"dpo/README.md", "rejects/pairs.jsonl"} <= names
    for row in rows_of(result.folder):
        assert row["chosen_score"] > row["rejected_score"]
        assert row["rejected_source"] == "long"
    facts = json.loads((result.folder / "run.json").read_text())
    assert facts["judge"].startswith("style:")
    assert set(facts["sources"]) == set(STYLES)
    assert set(facts["hashes"]["files"]) == {"prompts.jsonl", "plain.jsonl", "long.jsonl", "odd.jsonl"}


def test_held_out_prompts_are_in_no_training_pair(tmp_path: Path) -> None:
    out = start(write_prompts(tmp_path), tmp_path / "run").folder
    train, test = ({row["prompt"][-1]["content"] for row in rows_of(out, split)} for split in ("train", "test"))
    assert len(test) == 3
    assert not train & test


def test_it_loads_as_a_dataset_with_both_splits(tmp_path: Path) -> None:
    import datasets

    out = start(write_prompts(tmp_path), tmp_path / "run").folder
    found = datasets.load_dataset(str(out / "dpo"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in found.items()} == {"train": 9, "test": 3}


def test_the_same_recipe_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    folders = [start(write_prompts(tmp_path / name), tmp_path / name / "run").folder for name in ("one", "two")]
    for name in ("dpo/train.parquet", "dpo/test.parquet", "dpo/README.md", "audit.json", "rejects/pairs.jsonl"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1, name


def test_a_tournament_needs_no_scores(tmp_path: Path) -> None:
    judge = {"kind": "scripted", "quality": "shorter", "mode": "tournament", "error": 0, "spread": 0}
    recipe = write_prompts(tmp_path, judge=judge, pairs={"strategy": "tournament"})
    rows = rows_of(start(recipe, tmp_path / "run").folder)
    assert {(row["chosen_source"], row["rejected_source"]) for row in rows} == {("plain", "long")}
    assert {row["chosen_score"] for row in rows} == {None}


# -- a judge over HTTP -------------------------------------------------------------------------------------------


def test_a_judge_is_asked_once_for_each_candidate_and_never_again(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = rating
    recipe = write_prompts(tmp_path, judge=llm_judge(model_server, logprobs=False))
    result = start(recipe, tmp_path / "run")
    assert len(model_server.bodies) == 36
    assert {row["chosen_source"] for row in rows_of(result.folder)} == {"plain"}
    before = (result.folder / "dpo" / "train.parquet").read_bytes()
    start(recipe, tmp_path / "run")
    assert len(model_server.bodies) == 36
    assert (result.folder / "dpo" / "train.parquet").read_bytes() == before


def test_another_rubric_is_another_judge(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = lambda body: "".join(
        f"[[{name}: 4]]" for name in re.findall(r"\[\[(\w+): N\]\]", str(body))
    )
    recipe = write_prompts(tmp_path, judge=llm_judge(model_server, logprobs=False))
    with pytest.raises(RunError, match="tie 12"):
        start(recipe, tmp_path / "run")  # every candidate is rated the same: ties, and no pair
    asked = len(model_server.bodies)
    with pytest.raises(RunError, match="tie 12"):
        start(recipe, tmp_path / "run", set=["judge.rubric=writing_style"])
    assert len(model_server.bodies) == 2 * asked


def test_a_failed_judgement_enters_no_pair_and_is_counted(tmp_path: Path, model_server: ModelServer) -> None:
    def script(body: Body) -> str | Reply:
        asked = body["messages"][0]["content"]
        if "What can I say" in asked:
            return Reply({"error": {"message": "no"}}, 400)
        return "I cannot rate this answer." if "boat" in asked and "in order to" in asked else rating(body)

    model_server.script = script
    result = start(write_prompts(tmp_path, judge=llm_judge(model_server, logprobs=False)), tmp_path / "run")
    assert result.judgements == {"ok": 23, "refused": 1, "api_error": 12}
    used = {
        row[key]
        for split in ("train", "test")
        for row in rows_of(result.folder, split)
        for key in ("chosen_id", "rejected_id")
    }
    assert not any("/odd/" in one for one in used)
    left = [json.loads(line) for line in (result.folder / "rejects" / "pairs.jsonl").read_text().splitlines()]
    assert sum(each["reason"] == "judge_failed" for each in left) == 13
    assert {each["detail"].split(":")[0] for each in left if each["reason"] == "judge_failed"} <= set(FAILURES)


def test_a_run_killed_while_judging_asks_for_no_judgement_twice(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = lambda body: Reply(completion(rating(body)), wait=len(model_server.bodies) > 10)
    recipe = write_prompts(tmp_path, judge=llm_judge(model_server, logprobs=False))
    process = subprocess.Popen(
        command("run", recipe, "--out", tmp_path / "run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert model_server.wait_for(waiting=4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    model_server.release()
    result = start(recipe, tmp_path / "run")
    straight = start(
        write_prompts(tmp_path / "straight", judge=llm_judge(model_server, logprobs=False)), tmp_path / "two"
    )
    assert len(model_server.bodies) <= 36 + 4 + 36
    assert rows_of(result.folder) == rows_of(straight.folder)


def test_limits_hold_for_the_judge_too(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = rating
    judge = llm_judge(model_server, logprobs=False)
    prices = {"prompt": 1_000.0, "completion": 1_000.0}  # an answer has 7 + 3 tokens: a cent
    recipe = write_prompts(tmp_path, judge=judge, judge_prices=prices, limits={"usd": 0.1})
    with pytest.raises(Interrupted, match=r"limits\.usd is \$0\.10"):
        start(recipe, tmp_path / "run")
    paid = len(model_server.bodies)
    assert 10 <= paid < 36
    start(recipe, tmp_path / "run", set=["limits={}"])
    assert len(model_server.bodies) == 36


# -- the gate and the audit --------------------------------------------------------------------------------------


def write_labels(folder: Path, count: int = 40) -> Path:
    """Pairs whose better answer has the word "good"; it is the longer one in half of them."""
    rows = []
    for n in range(count):
        good, bad = f"A good answer, number {n}.", f"A bad answer, number {n}."
        good, bad = (f"{good} It goes on." * 3, bad) if n % 4 < 2 else (good, f"{bad} It goes on." * 3)
        rows.append(
            {
                "prompt": f"Ask {n}",
                "a": good if n % 2 else bad,
                "b": bad if n % 2 else good,
                "label": "a" if n % 2 else "b",
            }
        )
    path = folder / "labels.jsonl"
    _jsonl(path, rows)
    return path


def by_the_word(body: Body) -> str:
    """A judge that knows what people want: of two answers the good one, of one whether it is good."""
    asked = body["messages"][0]["content"]
    first = asked.find("good answer")
    if "[[A]]" in asked:
        return "[[A]]" if 0 <= first < asked.find("bad answer") else "[[B]]"
    return "[[helpfulness: 5]]" if first >= 0 else rating(body) if "Write two" in asked else "[[helpfulness: 1]]"


@pytest.mark.parametrize("mode", ["pointwise", "pairwise"])
def test_a_judge_that_agrees_with_people_passes_the_gate(
    tmp_path: Path, model_server: ModelServer, mode: str
) -> None:
    model_server.script = by_the_word
    recipe = write_prompts(tmp_path, judge=llm_judge(model_server, logprobs=mode == "unused", mode=mode))
    write_labels(tmp_path)
    found = calibrate(recipe, labelled=tmp_path / "labels.jsonl", out=tmp_path / "run", display=QUIET)
    assert found.gate.passed, found.gate.failures
    assert found.calibration.final_accuracy is not None
    assert found.calibration.final_accuracy.value == 1.0


def test_a_judge_with_a_favourite_place_is_refused_and_builds_no_pairs(
    tmp_path: Path, model_server: ModelServer
) -> None:
    model_server.script = lambda body: "[[A]]"
    judge = llm_judge(model_server, mode="tournament")
    gate = {"labelled": write_labels(tmp_path).name, "required": True}
    recipe = write_prompts(tmp_path, judge=judge, gate=gate, pairs={"strategy": "tournament"})
    with pytest.raises(GateFailed, match=r"P\(first\): 1\.000"):
        start(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "dpo").exists()
    assert json.loads((tmp_path / "run" / "calibration.json").read_text())["first"]["value"] == 1.0
    ended = stillroom("run", recipe, "--out", tmp_path / "run")
    assert ended.returncode == 1
    assert "fails the gate" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_calibration_asked_the_run_does_not_ask_again(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = by_the_word
    gate = {"labelled": write_labels(tmp_path).name, "required": False}
    recipe = write_prompts(tmp_path, judge=llm_judge(model_server, logprobs=False), gate=gate)
    calibrate(recipe, out=tmp_path / "run", display=QUIET)
    asked = len(model_server.bodies)
    assert asked == 80
    result = start(recipe, tmp_path / "run")
    assert len(model_server.bodies) == asked + 36
    assert result.gate is not None
    assert result.gate.passed


def test_broken_pairs_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    recipe = write_prompts(
        tmp_path, tasks={"source": "jsonl", "path": "prompts.jsonl", "prompt": "prompt", "reference": None, "test": 3}
    )
    for name in STYLES:  # the held-out prompts also stand among the others, in other letters
        path = tmp_path / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        _jsonl(path, [*rows, *({**row, "prompt": row["prompt"].upper()} for row in rows)])
    prompts = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    _jsonl(tmp_path / "prompts.jsonl", [*prompts, *({"prompt": row["prompt"].upper()} for row in prompts)])
    with pytest.raises(AuditFailed, match="held out for tests"):
        start(recipe, tmp_path / "run")
    assert (tmp_path / "run" / "audit.json").is_file()
    assert not (tmp_path / "run" / "dpo").exists()


# -- the command line and mistakes -------------------------------------------------------------------------------


def test_the_commands_print_tables_and_json(tmp_path: Path) -> None:
    recipe = write_prompts(tmp_path)
    said = stillroom("run", recipe, "--out", tmp_path / "run")
    assert said.returncode == 0, said.stderr
    assert "9 pairs and 3 held-out ones" in " ".join(said.stdout.split())
    assert json.loads(stillroom("run", recipe, "--out", tmp_path / "run", "--json").stdout)["pairs"] == 9
    shown = stillroom("pairs", tmp_path / "run", "--show", "1")
    assert "9 pairs" in shown.stdout
    assert "chosen" in shown.stdout
    assert json.loads(stillroom("pairs", tmp_path / "run", "--json").stdout)["audit"]["refused"] is False
    status = json.loads(stillroom("status", tmp_path / "run", "--json").stdout)
    assert status["ledger"]["attempts"] == 36


def test_status_says_what_would_be_asked(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = rating
    recipe = write_prompts(tmp_path, judge=llm_judge(model_server, logprobs=False))
    start(recipe, tmp_path / "run")
    asked = len(model_server.bodies)

    def planned(*changes: str) -> Any:
        sets = [part for change in changes for part in ("--set", change)]
        return json.loads(stillroom("status", tmp_path / "run", "--json", *sets).stdout)["plan"]

    same = planned()
    assert (same["asked"], same["candidates"], same["judge"]) == (0, 36, {"on_record": 36, "requests": 0})
    rubric = planned("judge.rubric=instruction_following")
    assert (rubric["asked"], rubric["judge"]) == (0, {"on_record": 0, "requests": 36})
    other = planned("pairs.length=matched")
    assert (other["asked"], other["judge"]["requests"]) == (0, 0)
    assert len(model_server.bodies) == asked
    assert "nothing would be paid for" in stillroom("status", tmp_path / "run").stdout
    assert (
        "about 36 requests"
        in stillroom("status", tmp_path / "run", "--set", "judge.rubric=instruction_following").stdout
    )


def test_attempts_are_those_of_the_sources_and_not_the_judges(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = rating
    start(write_prompts(tmp_path, judge=llm_judge(model_server, logprobs=False)), tmp_path / "run")
    assert len(stillroom("attempts", tmp_path / "run").stdout.splitlines()) == 27
    lines = stillroom("attempts", tmp_path / "run", "--held-out").stdout.splitlines()
    assert len(lines) == 36
    assert not any("helpfulness" in line for line in lines)


def test_pairs_of_others_are_audited_too(tmp_path: Path) -> None:
    rows = [{"prompt": f"p {n}", "chosen": "yes", "rejected": "yes" if n == 2 else "no"} for n in range(4)]
    _jsonl(tmp_path / "theirs.jsonl", rows)
    found = audit(tmp_path / "theirs.jsonl")
    assert found.audit.refused
    assert [f.count for f in found.audit.errors] == [1]


def test_pairs_of_others_may_hold_any_line_separator_and_be_in_any_format(tmp_path: Path) -> None:
    rows = [{"prompt": f"p\u2028{n}", "chosen": "yes\x85", "rejected": "no"} for n in range(4)]
    (tmp_path / "theirs.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    (tmp_path / "theirs.json").write_text(json.dumps(rows, indent=2))
    for name in ("theirs.jsonl", "theirs.json"):
        assert audit(tmp_path / name).rows == rows
    (tmp_path / "half.jsonl").write_text(json.dumps(rows[0]) + '\n{"prompt": "p", "cho')
    with pytest.raises(InputError, match=r"half\.jsonl:2: "):
        audit(tmp_path / "half.jsonl")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"judge": {"kind": "jduge"}},
            r"line 1: judge.kind: there is no 'jduge'; did you mean 'judge'|expected one of",
        ),
        ({"pairs": {"strategy": "best"}}, "pairs.strategy"),
        ({"candidates": []}, "candidates"),
        ({"evaluate": {"judge": {"kind": "readability"}}}, "there is none: add one"),
        ({"limits": {"usd": 3}}, "judge_prices"),
        ({"student": {"model": "m"}}, "method: dpo"),
        ({"tasks": {"source": "jsonl", "path": "x", "test": 3, "validation": 5}}, "pairs have no loop: leave it out"),
        ({"gate": {"labelled": "x", "min_kapa": 0.3}}, "did you mean 'min_kappa'"),
    ],
)
def test_a_mistake_names_its_key(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_any(write_prompts(tmp_path, **changes))


def test_a_student_is_not_measured_by_the_judge_that_built_its_pairs(tmp_path: Path) -> None:
    student = {"model": "embedded:smollm2-135m-instruct", "method": "dpo"}
    recipe = write_prompts(tmp_path, student=student, evaluate={"judge": {"kind": "style"}})
    with pytest.raises(RecipeError, match="is measured by another"):
        load_any(recipe)


def test_what_works_with_traces_only_says_so(tmp_path: Path) -> None:
    recipe = write_prompts(tmp_path)
    with pytest.raises(RecipeError, match="not a recipe of traces"):
        load_recipe(recipe)
    with pytest.raises(InputError, match="--pilot"):
        run(recipe, out=tmp_path / "run", pilot=3, display=QUIET)
