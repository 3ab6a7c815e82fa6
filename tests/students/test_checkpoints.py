"""Checkpoints on disk: whole or not there, bounded, and of this very training."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillroom.common import secrets
from stillroom.errors import NoRoom, StillroomError
from stillroom.students.methods.checkpoints import MANIFEST, Checkpoints, CheckpointSettings

BELONGS = {"seed": 7, "student": {"learning_rate": 0.1, "epochs": 2}, "versions": {"torch": "2"}}


class Told(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def told() -> Told:
    return Told()


def made(folder: Path, told: Told, **settings: Any) -> Checkpoints:
    return Checkpoints(folder / ".student.checkpoints", CheckpointSettings(**settings), BELONGS, told)


def save(kept: Checkpoints, *steps: int) -> None:
    for step in steps:
        with kept.writing(step, 10, {"losses": [0.1 * step]}) as folder:
            (folder / "weights").write_bytes(bytes([step]) * 100)
            (folder / "epoch").mkdir()
            (folder / "epoch" / "random").write_bytes(b"r")


def test_the_newest_is_gone_on_with_and_older_ones_are_removed(tmp_path: Path, told: Told) -> None:
    save(made(tmp_path, told, keep=2), 3, 5, 10)
    again = made(tmp_path, told)
    found = again.last()
    assert found is not None
    assert (found.step, found.total, found.state) == (10, 10, {"losses": [1.0]})
    assert (found.folder / "weights").read_bytes() == b"\n" * 100
    assert sorted(path.name for path in again.folder.iterdir()) == ["checkpoint-10", "checkpoint-5"]
    assert (again.saved, told) == (10, [])


def test_what_is_being_written_is_not_taken(tmp_path: Path, told: Told) -> None:
    """As a kill amid the writing leaves it: every file but the name."""
    kept = made(tmp_path, told)
    save(kept, 3)
    (kept.folder / "checkpoint-3").rename(tmp_path / "whole")
    save(kept, 5)
    (kept.folder / ".part").mkdir()
    (kept.folder / "checkpoint-5").rename(kept.folder / ".part" / "checkpoint-5")
    (tmp_path / "whole").rename(kept.folder / "checkpoint-3")
    found = made(tmp_path, told).last()
    assert found is not None
    assert found.step == 3
    assert not (kept.folder / ".part").exists()


def change(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder: change(folder / "weights"), "weights has changed"),
        (lambda folder: (folder / "weights").write_bytes(b""), "weights has changed"),
        (lambda folder: (folder / "epoch" / "random").unlink(), "epoch/random cannot be read"),
        (lambda folder: (folder / MANIFEST).unlink(), "FileNotFoundError"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text('{"digest": "a", "st'), "cannot be read"),
        (
            lambda folder: (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace("0.5", "0.6")),
            "checkpoint.json has changed",
        ),
    ],
)
def test_a_damaged_one_is_told_and_the_one_before_is_taken(
    damage: Callable[[Path], Any], why: str, tmp_path: Path, told: Told
) -> None:
    kept = made(tmp_path, told)
    save(kept, 3, 5)
    damage(kept.folder / "checkpoint-5")
    found = made(tmp_path, told).last()
    assert found is not None
    assert found.step == 3
    assert len(told) == 1
    assert "checkpoint-5 is damaged" in told[0]
    assert why in told[0]


def test_where_all_are_damaged_the_training_begins_at_its_first_step(tmp_path: Path, told: Told) -> None:
    kept = made(tmp_path, told)
    save(kept, 3, 5)
    for folder in kept.folder.iterdir():
        change(folder / "weights")
    assert made(tmp_path, told).last() is None
    assert len(told) == 2
    assert not kept.folder.exists()


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"seed": 8}, "seed (7 then, 8 now)"),
        ({"student": {"learning_rate": 0.2, "epochs": 2}}, "student.learning_rate (0.1 then, 0.2 now)"),
        ({"student": {"learning_rate": 0.1, "epochs": 2, "new": True}}, "student.new (null then, true now)"),
        ({"versions": {"torch": "3"}, "seed": 8, "a": 1, "b": 2}, "seed (7 then, 8 now) and 1 more"),
    ],
)
def test_one_of_another_training_is_told_and_removed(
    now: dict[str, Any], said: str, tmp_path: Path, told: Told
) -> None:
    kept = made(tmp_path, told)
    save(kept, 3)
    changed = Checkpoints(kept.folder, kept.settings, BELONGS | now, told)
    assert changed.last() is None
    assert len(told) == 1
    assert "step 3 belongs to another training, so it starts again" in told[0]
    assert told[0].endswith(said)
    assert not kept.folder.exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0"),
    ],
)
def test_a_full_disk_stops_and_leaves_the_last_good_one(error: Exception, tmp_path: Path, told: Told) -> None:
    kept = made(tmp_path, told)
    save(kept, 3)

    def write() -> None:
        with kept.writing(5, 10, {}) as folder:
            (folder / "weights").write_bytes(b"half")
            raise error

    with pytest.raises(NoRoom, match=r"step 5 cannot be written.*that of step 3 is kept.*same command"):
        write()
    assert [path.name for path in kept.folder.iterdir()] == ["checkpoint-3"]
    found = made(tmp_path, told).last()
    assert found is not None
    assert found.step == 3


def test_a_fault_that_is_not_the_disks_stays_what_it_is(tmp_path: Path, told: Told) -> None:
    with pytest.raises(RuntimeError, match="CUDA error") as caught, made(tmp_path, told).writing(5, 10, {}):
        raise RuntimeError("CUDA error")
    assert not isinstance(caught.value, StillroomError)


def test_when_a_step_is_saved(tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    by_step, by_minute = made(tmp_path, told, steps=4), made(tmp_path, told, minutes=2)
    both, never = made(tmp_path, told, steps=4, minutes=2), made(tmp_path, told, minutes=None)
    each = (by_step, by_minute, both, never)
    assert [[kept.due(step) for kept in each] for step in (3, 4)] == [[False] * 4, [True, False, True, False]]
    now[0] += 121
    assert [kept.due(3) for kept in each] == [False, True, True, False]
    save(by_minute, 3)
    assert not by_minute.due(4)
    with by_minute.writing(5, 10, {}):
        now[0] += 60  # a slow disk: no more than a twentieth of the time goes into it
    now[0] += 1199
    assert not by_minute.due(6)
    now[0] += 1
    assert by_minute.due(6)
    never.stopping = True
    assert never.due(1)


def test_without_checkpoints_what_is_there_is_not_taken(tmp_path: Path, told: Told) -> None:
    kept = made(tmp_path, told)
    save(kept, 3)
    assert Checkpoints(kept.folder, None, BELONGS, told).last() is None
    assert kept.folder.exists()


def test_no_secret_is_in_a_manifest(tmp_path: Path, told: Told) -> None:
    secrets.keep_value("sk-verysecret-0123456789", "TEACHER_KEY")
    kept = Checkpoints(tmp_path / "kept", CheckpointSettings(), {"key": "sk-verysecret-0123456789"}, told)
    save(kept, 3)
    text = (tmp_path / "kept" / "checkpoint-3" / MANIFEST).read_text(encoding="utf-8")
    assert "verysecret" not in text
    assert "TEACHER_KEY" in json.loads(text)["belongs"]["key"]
    assert kept.last() is not None
