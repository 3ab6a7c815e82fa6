"""`stillroom recipes`, `new` and `schema`, as they look on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from stillroom.pipeline.config.load import shipped
from tests.conftest import stillroom


def test_recipes_are_one_line_each_in_columns() -> None:
    lines = stillroom("recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped())
    assert len({line.index(line.split(maxsplit=2)[2]) for line in lines}) == 1
    found = json.loads(stillroom("recipes", "--json").stdout)
    assert found[0].keys() == {"name", "kind", "description"}


def test_a_new_recipe_says_what_comes_next(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert stillroom("new", "traces", path).stdout.splitlines() == [
        f"{path} written",
        "fill in (FILL_IN): tasks.path, teacher.model",
        f"then: stillroom run {path}",
    ]
    again = stillroom("new", "traces", path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "is there already" in again.stderr


def test_an_unknown_kind_is_one_message_with_the_kinds_there_are(tmp_path: Path) -> None:
    for words in (("new", "trace", tmp_path / "mine.yaml"), ("schema", "trace")):
        found = stillroom(*words)
        assert (found.returncode, found.stdout) == (2, "")
        assert found.stderr == (
            "error: there is no kind of recipe 'trace'; did you mean 'traces'? expected one of calibration, given, loop, "
            "preferences, progressive, traces\n"
        )
    assert not list(tmp_path.iterdir())


def test_the_schema_is_json() -> None:
    assert json.loads(stillroom("schema", "progressive").stdout)["$ref"] == "#/$defs/ProgressiveRecipe"
