"""The JSON schema of recipes, and the recipe to start from that is made of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pydantic
import pytest
import yaml

from stillroom.errors import InputError, RecipeError
from stillroom.pipeline.config.kinds import kind_name, recipe_kinds
from stillroom.pipeline.config.load import load_any, shipped, summaries
from stillroom.pipeline.config.schema import PLACEHOLDER, SHIPPED, schema, template, write_template
from stillroom.sampling.scorers.base import ScorerBase, scorers
from stillroom.traces.answers.records import Policies, choices

KINDS = list(recipe_kinds)


def problems(values: Any, kind: str | None = None) -> list[str]:
    checker = jsonschema.Draft7Validator(schema(kind))
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(values)]


def traces(**changes: Any) -> dict[str, Any]:
    tasks, teacher = {"source": "jsonl", "path": "a.jsonl"}, {"kind": "openai", "model": "m"}
    return {"name": "a", "tasks": tasks, "teacher": teacher, **changes}


# -- the schema --------------------------------------------------------------------------------------------------


def test_the_shipped_schema_is_that_of_the_models() -> None:
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == schema(), "run `make docs`"


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_it_is_a_schema(kind: str | None) -> None:
    jsonschema.Draft7Validator.check_schema(schema(kind))


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_fit(name: str) -> None:
    values = yaml.safe_load(shipped()[name].read_text(encoding="utf-8"))
    assert problems(values) == []
    assert problems(values, kind_name(load_any(name).recipe)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"scorer": {}},  # the default kind needs no tag
        {"keep": {"per_task": 2}},
        {"student": {"model": "m", "lora": False}},
        {"student": {"model": "m", "method": "dpo", "dpo": {"loss_type": "ipo", "sft_first": True}}},
        {"scorer": {"kind": "label", "labels": [1, 2]}},
        {"evaluate": {"retention": {"tasks": {"source": "jsonl", "path": "b.jsonl", "test": 5}}}},
        {"teacher": {"kind": "python", "path": "mine.py:teacher", "of_its_function": 3}},
        {"filters": ["dedup", {"dedup": {"near": 0.9}}, {"max_tokens": 5}, {"no_repetition": None}]},
    ],
)
def test_what_may_be_written_short_fits(changes: dict[str, Any]) -> None:
    assert problems(traces(**changes)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"bogus": 1},
        {"teacher": {"kind": "openai"}},
        {"teacher": {"kind": "bogus", "model": "m"}},
        {"teacher": {"model": "m"}},
        {"keep": {"policy": "fixed", "attempts": 0}},
        {"filters": ["bogus"]},
        {"loop": {"rounds": 0}},
        {"stages": []},
    ],
)
def test_what_loading_refuses_for_a_key_does_not_fit(changes: dict[str, Any]) -> None:
    assert problems(traces(**changes)) != []


def test_every_key_has_a_meaning() -> None:
    silent = [
        f"{name}.{key}"
        for name, each in schema()["$defs"].items()
        for key, value in each.get("properties", {}).items()
        if "const" not in value and not value.get("description")
    ]
    assert silent == []


def test_the_meaning_of_a_policy_says_what_its_values_do() -> None:
    for name, values in choices().items():
        meaning = schema("traces")["$defs"]["Policies"]["properties"][name]["description"]
        assert all(f"`{value}`" in meaning for value in values if value not in ("ask", getattr(Policies(), name))), (
            name
        )


def test_a_kind_without_source_has_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was made in an interactive session."""
    fields: dict[str, Any] = {"kind": (Literal["mine"], ...), "limit": (int, 3)}
    mine = pydantic.create_model("Mine", __base__=ScorerBase, __module__="session", **fields)
    monkeypatch.setitem(scorers._kinds, "mine", mine)
    assert schema("traces")["$defs"]["Mine"]["properties"].keys() == {"kind", "limit"}


def test_an_unknown_kind_is_named_with_those_there_are() -> None:
    with pytest.raises(
        RecipeError, match=r"no kind of recipe 'trace'; did you mean 'traces'\?.*calibration, given, loop"
    ):
        schema("trace")


# -- the recipe to start from ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_recipe_can_be_loaded_and_names_what_to_fill_in(kind: str, tmp_path: Path) -> None:
    path, missing = write_template(kind, tmp_path / "mine.yaml")
    recipe = load_any(path).recipe
    assert (kind_name(recipe), recipe.name) == (kind, "mine")
    text = path.read_text(encoding="utf-8")
    live = [line for line in text.splitlines() if not line.lstrip().startswith("#") and f": {PLACEHOLDER}" in line]
    assert len(live) == len(missing) > 0
    assert text.startswith(f"# yaml-language-server: $schema={SHIPPED}\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_is_uncommented_changes_nothing(kind: str, tmp_path: Path) -> None:
    path, _ = write_template(kind, tmp_path / "mine.yaml")
    before, lines = load_any(path).recipe, path.read_text(encoding="utf-8").splitlines()
    tried = 0
    for number, line in enumerate(lines):
        if re.match(r" *#\w+: (?!FILL_IN)\S", line):
            path.write_text("\n".join([*lines[:number], line.replace("#", "", 1), *lines[number + 1 :]]), "utf-8")
            assert load_any(path).recipe == before, line
            tried += 1
    assert tried > 0


@pytest.mark.parametrize("kind", KINDS)
def test_all_keys_uncommented_fit_the_schema(kind: str) -> None:
    lines = template(kind, "mine").text.splitlines()
    values = yaml.safe_load("\n".join(re.sub(r"^( *)#(?=\w+:| {2})", r"\1", line) for line in lines))
    found = (leaf for error in jsonschema.Draft7Validator(schema(kind)).iter_errors(values) for leaf in leaves(error))
    assert [error.json_path for error in found if PLACEHOLDER not in str(error.instance)] == []


def leaves(error: Any) -> Iterator[Any]:
    """The errors that a failed alternative comes from."""
    if not error.context:
        yield error
    for each in error.context:
        yield from leaves(each)


def test_a_new_recipe_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.yaml is there already: name another file, or remove it first"):
        write_template("traces", path)
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("path", "name"),
    [("a b.yaml", "axb"), (".yaml", "xyaml"), ("tutor/recipe.yaml", "tutor"), ("a" * 95 + ".yaml", "a" * 80)],
)
def test_a_run_is_named_after_its_file(path: str, name: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    written, _ = write_template("loop", tmp_path / path)
    assert load_any(written).recipe.name == name


def test_a_summary_is_the_head_of_the_recipe() -> None:
    found = {each.name: each for each in summaries()}
    assert found.keys() == shipped().keys()
    assert found["quickstart"][1:] == ("traces", "A whole distillation on a CPU")
    assert found["self_distill"].kind == "loop"
    assert all(each.description for each in found.values())
