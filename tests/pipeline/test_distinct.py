"""Sources and judges that the ledger could take for one another are told apart, or refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import RecipeError
from stillroom.pipeline.config.load import load_any
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.planning.preference_plan import PreferencePlan
from stillroom.pipeline.planning.status import status
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.candidates import identities
from stillroom.pipeline.stages.judge import refuse_same_judges
from stillroom.sampling.ledger import Ledger
from tests.conftest import Body, ModelServer

QUIET = Display(quiet=True)
PROMPTS = [
    f"Write two sentences about a {thing}." for thing in ("boat", "clock", "garden", "kettle", "river", "tower")
]


@pytest.fixture
def second_server(model_server: ModelServer) -> Iterator[ModelServer]:
    """Another server, with the machine's keys and proxies out of the way as for the first."""
    server = ModelServer()
    yield server
    server.close()


def asks(server: ModelServer, **more: Any) -> Body:
    return {"kind": "openai", "model": "m", "base_url": server.url, "retry": {"attempts": 1}, **more}


def write_recipe(folder: Path, candidates: list[Body], **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS))
    recipe = {
        "name": "notes",
        "tasks": {"source": "jsonl", "path": "prompts.jsonl", "prompt": "prompt", "reference": None},
        "candidates": candidates,
        "judge": {"kind": "style"},
        "pairs": {"strategy": "best_worst"},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe | more))
    return path


def written_by(name: str) -> Any:
    """What a server of that name writes: each word of it says who wrote it."""
    good = "It stood by the wall. We used it each day, and it never failed us."
    bad = "It is important to note that, in order to utilise it, one must endeavour to leverage its capabilities."

    def script(body: Body) -> str:
        return f"Signed {name}. {good if name == 'first' else bad} Thought number {body['seed'] % 1000}."

    return script


# Who is on policy, how the second source differs besides its address, and which of the two is listed first.
CASES = [
    *itertools.product(
        ((False, False), (True, False), (False, True)),
        ({}, {"sampling": {"temperature": 0.5}}, {"sampling": {"max_tokens": 77}}, {"system": "Be brief."}),
        (False, True),
    )
]


@pytest.mark.parametrize(("on_policy", "other", "swapped"), CASES)
def test_each_side_of_a_pair_is_of_the_source_that_wrote_it(
    tmp_path: Path,
    model_server: ModelServer,
    second_server: ModelServer,
    on_policy: tuple[bool, bool],
    other: Body,
    swapped: bool,
) -> None:
    import pyarrow.parquet as pq

    model_server.script, second_server.script = written_by("first"), written_by("second")
    sources = [
        {"name": "first", "draws": 2, "on_policy": on_policy[0], "teacher": asks(model_server)},
        {"name": "second", "draws": 2, "on_policy": on_policy[1], "teacher": asks(second_server, **other)},
    ]
    recipe = write_recipe(tmp_path, sources[::-1] if swapped else sources)
    run(recipe, out=tmp_path / "run", display=QUIET)
    rows = pq.read_table(tmp_path / "run" / "dpo" / "train.parquet").to_pylist()
    assert len(rows) == len(PROMPTS)
    for row, side in itertools.product(rows, ("chosen", "rejected")):
        assert row[side][0]["content"].startswith(f"Signed {row[f'{side}_source']}.")
    asked = len(model_server.bodies), len(second_server.bodies)
    assert asked == (2 * len(PROMPTS), 2 * len(PROMPTS))
    planned = status(tmp_path / "run").plan
    assert isinstance(planned, PreferencePlan)
    assert planned.asked == 0
    run(recipe, out=tmp_path / "run", display=QUIET)
    assert (len(model_server.bodies), len(second_server.bodies)) == asked


@pytest.mark.parametrize(
    "other",
    [{}, {"concurrency": 3}, {"timeout_s": 9}, {"sampling": {"max_tokens": 77}}, {"send_seed": False}],
    ids=str,
)
def test_two_sources_that_ask_the_same_of_one_model_are_refused(
    tmp_path: Path, model_server: ModelServer, other: Body
) -> None:
    sources = [
        {"name": "first", "teacher": asks(model_server)},
        {"name": "second", "teacher": asks(model_server, **other)},
    ]
    recipe = write_recipe(tmp_path, sources)
    with pytest.raises(RecipeError, match="'first' and 'second' ask the same of one model"):
        run(recipe, out=tmp_path / "run", display=QUIET)
    assert not model_server.bodies


@pytest.mark.parametrize(
    "other",
    [{"sampling": {"temperature": 0.5}}, {"system": "Be brief."}, {"model": "n"}, {"extra_body": {"top_a": 1}}],
    ids=str,
)
def test_two_sources_of_one_server_that_ask_for_something_else_are_two(
    tmp_path: Path, model_server: ModelServer, other: Body
) -> None:
    sources = [
        {"name": "first", "teacher": asks(model_server)},
        {"name": "second", "teacher": asks(model_server, **other)},
    ]
    loaded = load_any(write_recipe(tmp_path, sources))
    assert isinstance(loaded.recipe, PreferenceRecipe)
    assert len(identities(loaded.recipe, loaded.base)) == 2
    assert all(getattr(source.teacher, "name", None) is None for source in loaded.recipe.candidates)


def test_two_recordings_with_the_same_content_are_refused(tmp_path: Path) -> None:
    recorded = {"kind": "recorded", "prompt": "prompt"}
    sources = [{"name": name, "teacher": {**recorded, "path": f"{name}.jsonl"}} for name in ("one", "two", "three")]
    recipe = write_recipe(tmp_path, sources)
    for name, text in (("one", "Yes."), ("two", "No."), ("three", "Yes.")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": PROMPTS[0], "text": text}) + "\n")
    with pytest.raises(RecipeError, match="'one' and 'three' ask the same of one model"):
        run(recipe, out=tmp_path / "run", display=QUIET)


def judged_by(*judges: Body) -> Body:
    """The part of a recipe that names the pairs' judge and those of the evaluation."""
    first, second, *also = judges
    student = {"model": "embedded:smollm2-135m-instruct", "method": "dpo"}
    tasks = {"source": "jsonl", "path": "prompts.jsonl", "prompt": "prompt", "reference": None, "test": 2}
    return {"judge": first, "evaluate": {"judge": second, "also": also}, "student": student, "tasks": tasks}


def llm(server: ModelServer, **more: Any) -> Body:
    return {"kind": "llm", "teacher": asks(server, model="judge", **more)}


@pytest.mark.parametrize("same", [(0, 1), (0, 2), (1, 2)], ids=str)
@pytest.mark.parametrize("other", [{"concurrency": 3}, {"timeout_s": 9}], ids=str)
def test_a_judge_of_the_evaluation_that_is_named_already_is_refused(
    tmp_path: Path, model_server: ModelServer, same: tuple[int, int], other: Body
) -> None:
    judges = [llm(model_server, system=f"You are judge {n}.", sampling={"temperature": n / 4}) for n in range(3)]
    judges[same[1]] = {**judges[same[0]], "teacher": {**judges[same[0]]["teacher"], **other}}
    source = [{"name": "one", "teacher": asks(model_server)}]
    loaded = load_any(write_recipe(tmp_path, source, **judged_by(*judges)))
    assert isinstance(loaded.recipe, PreferenceRecipe)
    with Ledger.open(tmp_path / "run") as ledger, pytest.raises(RecipeError, match="is the same judge as"):
        refuse_same_judges(loaded.recipe, ledger, tmp_path)


def test_judges_of_one_name_at_two_addresses_are_two(
    tmp_path: Path, model_server: ModelServer, second_server: ModelServer
) -> None:
    source = [{"name": "one", "teacher": asks(model_server)}]
    judges = judged_by(llm(model_server), llm(second_server))
    loaded = load_any(write_recipe(tmp_path, source, **judges))
    assert isinstance(loaded.recipe, PreferenceRecipe)
    with Ledger.open(tmp_path / "run") as ledger:
        refuse_same_judges(loaded.recipe, ledger, tmp_path)


def test_a_jury_of_one_model_name_at_two_addresses_asks_both(
    tmp_path: Path, model_server: ModelServer, second_server: ModelServer
) -> None:
    model_server.script = second_server.script = lambda body: f"[[helpfulness: {1 + body['seed'] % 5}]]"
    source = {"kind": "recorded", "prompt": "prompt", "path": "said.jsonl"}
    jury = {"kind": "jury", "members": [llm(model_server), llm(second_server)]}
    recipe = write_recipe(tmp_path, [{"name": "one", "draws": 2, "teacher": source}], judge=jury)
    lines = [{"prompt": p, "text": f"{word} {p} It stood."} for p in PROMPTS for word in ("Yes.", "No.")]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(recipe, out=tmp_path / "run", display=QUIET)
    assert len(model_server.bodies) == len(second_server.bodies) == 2 * len(PROMPTS)
