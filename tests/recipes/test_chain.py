"""Runs that hang together: what one measured, the next need not measure again."""

from __future__ import annotations

from pathlib import Path

from stillroom.recipes.chain import BEFORE_FILE, hand_on


def measured(folder: Path, text: str) -> Path:
    (folder / BEFORE_FILE).parent.mkdir(parents=True)
    (folder / BEFORE_FILE).write_text(text)
    return folder


def test_what_the_first_run_measured_of_the_model_before_is_handed_on(tmp_path: Path) -> None:
    earlier = [tmp_path / "0", measured(tmp_path / "1", "first"), measured(tmp_path / "2", "second")]
    hand_on(earlier, tmp_path / "3")
    assert (tmp_path / "3" / BEFORE_FILE).read_text() == "first"


def test_what_a_run_has_itself_stays(tmp_path: Path) -> None:
    hand_on([measured(tmp_path / "1", "first")], measured(tmp_path / "2", "own"))
    assert (tmp_path / "2" / BEFORE_FILE).read_text() == "own"


def test_where_nothing_was_measured_nothing_is_laid(tmp_path: Path) -> None:
    hand_on([tmp_path / "1"], tmp_path / "2")
    assert not (tmp_path / "2").exists()
