"""The catalogue of findings: every entry is whole, and none stands there twice."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from stillroom.preferences.checks import Meaning
from stillroom.students.lint.report import Group, meanings, names


@pytest.mark.parametrize("name", meanings())
def test_every_finding_has_all_its_fields(name: str) -> None:
    meaning = meanings()[name]
    assert all(isinstance(field, str) and field.strip() == field != "" for field in meaning)
    assert meaning.severity in ("error", "warning")


def test_every_group_is_there_and_no_name_twice() -> None:
    groups = [names(group) for group in get_args(Group)]
    assert all(groups)
    assert sorted(name for group in groups for name in group) == sorted(meanings())


def test_an_entry_that_lacks_a_field_or_has_another_is_refused() -> None:
    whole = next(iter(meanings().values()))._asdict()
    with pytest.raises(TypeError):
        Meaning(**{key: value for key, value in whole.items() if key != "advice"})
    with pytest.raises(TypeError):
        Meaning(**{**whole, "more": "?"})


def test_the_file_is_read_on_first_use() -> None:
    code = "from stillroom.students.lint import report; print(report.meanings.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0"]
