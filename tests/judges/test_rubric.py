"""Rubrics: what their files may say, what they are called by, and how ratings become a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError, MissingFile
from stillroom.judges.rubric import Rubric, load_rubric, parse_rubric, shipped_rubrics

GOOD: dict[str, Any] = {"name": "r", "version": 1, "criteria": [{"name": "clear", "description": "It is clear."}]}


def test_the_shipped_rubrics_can_be_read() -> None:
    assert shipped_rubrics() == (
        "correctness_with_reference",
        "helpfulness",
        "instruction_following",
        "writing_style",
    )
    for name in shipped_rubrics():
        assert load_rubric(name).name == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": {1: "a", 3: "b"}}, "without a gap"),
        ({"scale": {1: "a"}}, "at least two"),
        ({"scale": {0: "a", 1: ""}}, "at least 1 character"),
        ({"scale": dict.fromkeys(range(12), "a")}, "within 0..10"),
        ({"scale": dict.fromkeys(range(-1, 3), "a")}, "within 0..10"),
        ({"criteria": []}, "at least 1 item"),
        ({"criteria": GOOD["criteria"] * 2}, "two criteria are called 'clear'"),
        ({"criteria": [{"name": "winner", "description": "x"}]}, "verdicts use that word"),
        ({"criteria": [{"name": "Two Words", "description": "x"}]}, "pattern"),
        ({"criteria": [{"name": "clear", "description": "x", "weight": 0}]}, "greater than 0"),
        ({"version": 0}, "greater than or equal to 1"),
        ({"colour": "red"}, "colour: Extra inputs"),
    ],
)
def test_a_rubric_that_cannot_be_used_is_refused(change: dict[str, object], message: str) -> None:
    import json

    with pytest.raises(InputError, match=message):
        parse_rubric(json.dumps(GOOD | change), "here.yaml") if "scale" not in change else _from(GOOD | change)


def _from(data: dict[str, object]) -> Rubric:
    import yaml

    return parse_rubric(yaml.safe_dump(data), "here.yaml")


@pytest.mark.parametrize("text", ["[1, 2", "- a list", ""])
def test_a_file_that_is_no_rubric_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml"):
        load_rubric("mine.yaml", tmp_path)


def test_a_rubric_that_is_not_there_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"no rubric 'kindness'.*helpfulness"):
        load_rubric("kindness", tmp_path)


def test_a_file_is_found_from_the_base(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("{name: r, version: 3, criteria: [{name: a, description: b}]}")
    assert load_rubric("mine.yaml", tmp_path).version == 3


def test_ratings_are_weighed() -> None:
    rubric = _from(
        GOOD | {"criteria": [{"name": "a", "description": "x"}, {"name": "b", "description": "x", "weight": 3}]}
    )
    assert rubric.score({"a": 1, "b": 5}) == 4.0
    with pytest.raises(KeyError):
        rubric.score({"a": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"instructions": "Be strict."},
        {"reference": "never"},
        {"criteria": [{"name": "clear", "description": "It is clear!"}]},
        {"criteria": [{"name": "clear", "description": "It is clear.", "weight": 2}]},
        {"scale": {1: "no", 2: "yes"}},
    ],
)
def test_every_change_of_content_makes_another_rubric(change: dict[str, object]) -> None:
    assert _from(GOOD).identity == _from(dict(GOOD)).identity
    assert _from(GOOD | change).identity != _from(GOOD).identity
