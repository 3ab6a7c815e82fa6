"""The language of field names: what each name finds, and what a message says where it finds nothing."""

from __future__ import annotations

from typing import Any

import pytest

from stillroom.common.fields import NoField, found_at, has_field, value_at

ROW: dict[str, Any] = {
    "a": {"b": 1, "none": None, "0": "zero"},
    "x.y": "flat",
    "x": {"y": "deep"},
    "odd[": "odd",
    "turns": [{"role": "user", "text": "q"}, {"role": "assistant", "text": "r", "parts": [{"t": 1}, {"t": 2}]}],
    "list": [[1, 2], [3]],
    "empty": [],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.b", 1),
        ("a.0", "zero"),
        ("a.none", None),
        ("x.y", "flat"),
        ("odd[", "odd"),
        ("turns[0].text", "q"),
        ("turns.0.text", "q"),
        ("turns[-1].text", "r"),
        ("turns.-1.text", "r"),
        ("turns[*].text", ["q", "r"]),
        ("turns[*].parts[*].t", [None, 1, 2]),
        ("turns[-1].parts[1].t", 2),
        ("list[1][0]", 3),
        ("list[*][0]", [1, 3]),
        ("list[*]", [[1, 2], [3]]),
    ],
)
def test_a_name_finds_its_value(name: str, value: Any) -> None:
    assert value_at(ROW, name) == found_at(ROW, name) == value
    assert has_field(ROW, name)


@pytest.mark.parametrize(
    "name",
    ["b", "a.c", "a.b.c", "a[0]", "turns.text", "turns[2]", "turns[-3]", "turns[*].other", "empty[*]", "a[*]", "a..b",
     "a[b]", "a[", "turns[99999999999]", "x.y.z", ""],
)  # fmt: skip
def test_a_name_that_finds_nothing(name: str) -> None:
    assert found_at(ROW, name) is None
    assert not has_field(ROW, name)
    with pytest.raises(NoField, match="no field"):
        value_at(ROW, name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("a.bb", "'a.b'"),
        ("turns[0].txt", r"'turns\[0\]\.text'"),
        ("x.yy", r"'x\.y'"),
        ("turns[-1].parts[0].tt", r"parts\[0\]\.t'"),
    ],
)
def test_the_nearest_name_is_told_nested_ones_too(name: str, near: str) -> None:
    with pytest.raises(NoField, match=f"did you mean {near}|did you mean .*{near}"):
        value_at(ROW, name)


def test_a_wide_or_deep_row_takes_no_time() -> None:
    deep: Any = "end"
    for _ in range(500):
        deep = {"k": deep}
    with pytest.raises(NoField, match="and 99993 more"):
        value_at({f"f{n}": deep for n in range(100_001)}, "nothing")
