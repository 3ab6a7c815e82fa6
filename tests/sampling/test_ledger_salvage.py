"""What can be read of a damaged ledger is saved, what cannot is counted, and nothing false is taken over."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import Attempt, State, TokenChoice, Usage, Verdict
from stillroom.errors import LedgerError, RunFolderError
from stillroom.sampling.ledger import FILE, Ledger
from stillroom.sampling.ledger.file import read_choices

COUNT = 300
PAGE = 4096


def attempt(i: int) -> Attempt:
    text = f"attempt {i}: " + "é and so on, " * (i % 40) * (i % 25)  # up to 13 KB: some in chains of pages
    choices = (TokenChoice("é", -0.5, (("é", -0.5), ("\n", -1.0))),) * (i % 7) if i % 2 else None
    thought = "thought" if i % 3 else None
    return Attempt(f"t{i // 4}", i % 4, text, thought, "stop", 7, i, (-0.5,), float(i % 2), "m", choices)


def write(folder: Path) -> None:
    with Ledger.open(folder) as ledger:
        for i in range(COUNT):
            row = ledger.add_attempt(f"{i // 4:032x}", 64, attempt(i))
            ledger.add_verdict(row, "scorer", Verdict(State.ACCEPTED, "equal", 1.0, f"{i}", 0.0))
            if i % 10 == 0:
                ledger.add_failure(f"{i:032x}", 0, f"t{i}", "HTTP 500", "server")
                ledger.add_cancelled(f"{i:032x}", 1, f"t{i}", Usage(7, None))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write(folder)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of a ledger, to be damaged."""
    shutil.copyfile(sound / FILE, tmp_path / FILE)
    return tmp_path


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    with Ledger.read(folder) as ledger:
        yield from ledger.rows()


def same_rows(folder: Path) -> int:
    """How many attempts there are; each must be as it was written, with its verdict."""
    count = 0
    for row in rows(folder):
        expected = attempt(row["id"] - 1)
        assert (row["task_id"], row["draw"], row["text"]) == (expected.task_id, expected.index, expected.text)
        assert (row["reasoning"], row["completion_tokens"]) == (expected.reasoning, expected.completion_tokens)
        assert read_choices(row["choices"]) == expected.choices
        assert row["state"] in ("accepted", None)
        assert row["state"] is None or row["detail"] == str(row["id"] - 1)
        count += 1
    return count


def overwrite(path: Path, at: int, length: int, how: Callable[[int], bytes] = bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(how(length))


def noise(length: int) -> bytes:
    return random.Random(7).randbytes(length)


def test_all_of_a_sound_ledger_is_saved(folder: Path) -> None:
    found = Ledger.salvage(folder)
    assert found[:-1] == (COUNT, COUNT, 30, 30, 0, 0, 0)
    assert found.kept == folder / f"{FILE}.damaged"
    assert same_rows(folder) == COUNT
    with Ledger.read(folder) as ledger:
        assert ledger.failure_counts() == {"server": 30}
        assert ledger.totals().cancelled_unknown == 30


@pytest.mark.parametrize("length", [100, PAGE])
@pytest.mark.parametrize("how", [bytes, noise])
def test_damage_in_the_header(folder: Path, length: int, how: Callable[[int], bytes]) -> None:
    overwrite(folder / FILE, 0, length, how)
    damaged = (folder / FILE).read_bytes()
    with pytest.raises(LedgerError, match=r"is damaged .*--salvage"):
        Ledger.open(folder)
    found = Ledger.salvage(folder)
    assert (found.attempts, found.verdicts, found.failures, found.missing) == (COUNT, COUNT, 30, 0)
    assert same_rows(folder) == COUNT
    assert found.kept.read_bytes() == damaged
    Ledger.open(folder).close()


@pytest.mark.parametrize("how", [bytes, noise])
def test_damage_at_the_top_of_every_tree_loses_nothing_below(folder: Path, how: Callable[[int], bytes]) -> None:
    """The pages that lead to the rows are overwritten; the rows are found all the same."""
    with closing(sqlite3.connect(folder / FILE)) as db:
        roots = [int(row[0]) for row in db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'attempts'")]
    for root in roots:
        overwrite(folder / FILE, (root - 1) * PAGE, PAGE, how)
    with Ledger.read(folder) as ledger, pytest.raises(LedgerError, match="damaged"):
        list(ledger.rows())
    found = Ledger.salvage(folder)
    assert (found.attempts, found.missing) == (COUNT, 0)
    assert same_rows(folder) == COUNT


@pytest.mark.parametrize("how", [bytes, noise])
@pytest.mark.parametrize("seed", range(6))
def test_damage_in_the_middle(folder: Path, seed: int, how: Callable[[int], bytes]) -> None:
    """Whole pages, and blocks of 512 bytes anywhere: what is saved is as it was, the rest is counted as lost."""
    size, chance = (folder / FILE).stat().st_size, random.Random(seed)
    for _ in range(8):
        length = chance.choice([512, PAGE, 3 * PAGE])
        overwrite(folder / FILE, chance.randrange(PAGE, size - length) // 512 * 512, length, how)
    found = Ledger.salvage(folder)
    assert COUNT // 2 < found.attempts < COUNT
    assert found.attempts + found.missing <= COUNT
    assert found.broken + found.missing + found.orphans > 0
    assert same_rows(folder) == found.attempts
    with Ledger.open(folder) as ledger:  # nothing is left that hinders the run
        row = ledger.add_attempt("f" * 32, 64, attempt(0))
        ledger.add_verdict(row, "scorer", Verdict(State.ACCEPTED, "equal"))
        assert ledger.find("f" * 32, 64, "t0", "scorer")[0].verdict is not None


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file(folder: Path, share: float) -> None:
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(LedgerError, match="damaged"), Ledger.open(folder) as ledger:
        list(ledger.rows())
    found = Ledger.salvage(folder)
    assert COUNT * share * 0.6 < found.attempts < COUNT
    assert same_rows(folder) == found.attempts


def test_an_empty_file_is_damaged_not_new(folder: Path) -> None:
    (folder / FILE).write_bytes(b"")
    with pytest.raises(LedgerError, match=r"damaged .it is empty"):
        Ledger.open(folder)
    assert Ledger.salvage(folder).attempts == 0
    Ledger.open(folder).close()


def test_what_is_in_the_log_alone_is_saved(tmp_path: Path) -> None:
    """As after a SIGKILL: the last records are in the write-ahead log only, and then the file is damaged."""
    source, folder = tmp_path / "source", tmp_path / "run"
    folder.mkdir()
    with Ledger.open(source) as ledger:
        for i in range(20):
            row = ledger.add_attempt(f"{i // 4:032x}", 64, attempt(i))
            ledger.add_verdict(row, "scorer", Verdict(State.ACCEPTED, "equal", 1.0, f"{i}"))
        for name in (FILE, f"{FILE}-wal"):
            shutil.copyfile(source / name, folder / name)
    assert (folder / f"{FILE}-wal").stat().st_size > PAGE
    overwrite(folder / FILE, 0, PAGE)
    found = Ledger.salvage(folder)
    assert (found.attempts, found.verdicts) == (20, 20)
    assert same_rows(folder) == 20
    assert (folder / f"{FILE}.damaged-wal").is_file()
    assert not (folder / f"{FILE}-wal").exists()


@pytest.mark.parametrize(("old", "new"), [(b"attempt 10:", b"attempt 99:"), (b"attempt 10:", b"\0" * 11)])
def test_a_log_is_read_up_to_where_it_is_whole(tmp_path: Path, old: bytes, new: bytes) -> None:
    """Even where what changed is a text still: the log has checksums."""
    source, folder = tmp_path / "source", tmp_path / "run"
    folder.mkdir()
    with Ledger.open(source) as ledger:
        for i in range(20):
            ledger.add_attempt(f"{i:032x}", 64, attempt(i))
        for name in (FILE, f"{FILE}-wal"):
            shutil.copyfile(source / name, folder / name)
    log = folder / f"{FILE}-wal"
    log.write_bytes(log.read_bytes().replace(old, new))
    found = Ledger.salvage(folder)
    assert found.attempts == 10
    assert same_rows(folder) == found.attempts


def test_killed_between_moving_the_log_and_putting_the_new_file_in_place(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "run"
    folder.mkdir()
    with Ledger.open(source) as ledger:
        ledger.add_attempt("0" * 32, 64, attempt(0))
        shutil.copyfile(source / FILE, folder / FILE)
        shutil.copyfile(source / f"{FILE}-wal", folder / f"{FILE}.damaged-wal")
    (folder / f"{FILE}.damaged").hardlink_to(folder / FILE)
    (folder / f".{FILE}.salvaged").write_bytes(b"half")
    found = Ledger.salvage(folder)
    assert found.attempts == 1
    assert found.kept == folder / f"{FILE}.damaged"
    assert {p.name for p in folder.iterdir()} == {FILE, ".lock", f"{FILE}.damaged", f"{FILE}.damaged-wal"}


def test_an_earlier_damaged_file_is_not_overwritten(folder: Path) -> None:
    (folder / f"{FILE}.damaged").write_bytes(b"an earlier one")
    assert Ledger.salvage(folder).kept == folder / f"{FILE}.damaged2"
    assert (folder / f"{FILE}.damaged").read_bytes() == b"an earlier one"


def test_verdicts_of_lost_attempts_are_left_out_and_counted(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE)) as db, db:
        db.execute("DELETE FROM attempts WHERE id > 290")
    found = Ledger.salvage(folder)
    assert (found.attempts, found.verdicts, found.missing, found.orphans) == (290, 290, 10, 10)


@pytest.mark.parametrize(
    "change",
    [
        "text = 'good' || char(0) || 'bad'",
        "finish_reason = 'done'",
        "completion_tokens = -1",
        "completion_tokens = 'many'",
        "draw = -1",
        "logprobs = '[-0.5'",
        "choices = '[['",
        "choices = '[[1]]'",
        "choices = '{}x'",
        "choices = '[null]'",
        "request = ''",
        "text = CAST(x'ff00ff' AS TEXT)",
        "text = x'00'",
    ],
)
def test_a_row_that_makes_no_sense_is_left_out(folder: Path, change: str) -> None:
    with closing(sqlite3.connect(folder / FILE)) as db, db:
        db.execute(f"UPDATE attempts SET {change} WHERE id = 150")
    found = Ledger.salvage(folder)
    assert (found.attempts, found.broken, found.missing, found.orphans) == (COUNT - 1, 1, 1, 1)
    assert same_rows(folder) == COUNT - 1


def test_bytes_that_are_no_text_are_damage(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE)) as db, db:
        db.execute("UPDATE attempts SET text = CAST(x'ff00ff' AS TEXT) WHERE id = 150")
    with pytest.raises(LedgerError, match="damaged"):
        list(rows(folder))


def test_a_row_whose_chain_leads_into_a_longer_row_is_left_out(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        for i, text in enumerate(["a" * 9000, "b" * 30_000]):
            ledger.add_attempt(f"{i:032x}", 64, Attempt("t", i, text, None, "stop", 7, 9, None, 0.5, "m"))
    content = bytearray((tmp_path / FILE).read_bytes())
    pages = [bytes(content[at : at + PAGE]) for at in range(0, len(content), PAGE)]
    first_a, first_b = (
        next(i + 1 for i, p in enumerate(pages) if p[4:] == letter * (PAGE - 4)) for letter in (b"a", b"b")
    )
    [leaf] = [i for i, page in enumerate(pages) if page[0] == 0x0D and b"aaaa" in page]
    moved = pages[leaf].replace(first_a.to_bytes(4), first_b.to_bytes(4), 1)
    assert moved != pages[leaf]
    overwrite(tmp_path / FILE, leaf * PAGE, PAGE, lambda length: moved)
    found = Ledger.salvage(tmp_path)
    assert (found.attempts, found.broken, found.missing) == (1, 1, 1)
    assert [row["text"] for row in rows(tmp_path)] == ["b" * 30_000]


def test_nothing_to_salvage(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="nothing to salvage"):
        Ledger.salvage(tmp_path)


def test_a_ledger_in_use_is_not_salvaged(folder: Path) -> None:
    with Ledger.open(folder), pytest.raises(LedgerError, match="another process"):
        Ledger.salvage(folder)
