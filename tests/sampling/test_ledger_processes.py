"""The ledger and the outside world: SIGKILL, a full disk, a second process. What was acknowledged is never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stillroom.common.records import Attempt
from stillroom.sampling.ledger import Ledger
from tests.conftest import stillroom, write_sums

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and limits")

# Writes attempts with verdicts and says of each that it is written, until it fails or is killed.
WRITER = """
import sys
from pathlib import Path
from stillroom.errors import LedgerError
from stillroom.sampling.ledger import Ledger
from stillroom.common.records import Attempt, State, Verdict
with Ledger.open(Path(sys.argv[1])) as ledger:
    first = ledger.totals().attempts
    print("open", flush=True)
    LIMIT
    try:
        for i in range(first, first + int(sys.argv[2])):
            attempt = Attempt(f"t{i}", 0, f"answer {i} " * 50, None, "stop", 7, 100, None, 0.5, "m")
            ledger.add_verdict(ledger.add_attempt(f"{i:032x}", 64, attempt), "s", Verdict(State.ACCEPTED, "equal"))
            print(i, flush=True)
    except LedgerError as error:
        print("failed:", error, flush=True)
        sys.exit(error.exit_code)
"""
# A file that may not grow is what a full disk looks like to a program: the write is refused.
SMALL_DISK = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " + (
    "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
)


@contextmanager
def writer(folder: Path, count: int = 10**9, limit: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that writes; it is gone afterwards."""
    words = [sys.executable, "-c", WRITER.replace("LIMIT", limit), str(folder), str(count)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


def on_record(folder: Path) -> list[int]:
    """The attempts that have a verdict. Each must be whole."""
    with Ledger.read(folder) as ledger:
        found = list(ledger.rows())
    for row in found:
        number = int(row["task_id"][1:])
        assert row["text"] == f"answer {number} " * 50
    return [int(row["task_id"][1:]) for row in found if row["state"] == "accepted"]


def test_killed_again_and_again_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    said: list[int] = []
    for kill in range(4):
        with writer(tmp_path) as process:
            assert process.stdout is not None
            said += [int(process.stdout.readline()) for _ in range(40 + 37 * kill)]
            os.kill(process.pid, signal.SIGKILL)
            said += map(int, process.stdout.read().split("\n")[:-1])
        written = on_record(tmp_path)
        assert set(said) <= set(written)
        assert len(written) - len(said) <= kill + 1  # those that were being written when a kill came
    assert Ledger.salvage(tmp_path).broken == 0  # and the file is sound


def test_a_full_disk_stops_the_run_with_what_was_acknowledged(tmp_path: Path) -> None:
    with writer(tmp_path, limit=SMALL_DISK) as process:
        output = process.communicate(timeout=60)[0].splitlines()
    *written, failed = output
    assert process.returncode == 1
    assert "cannot write" in failed
    assert "free some space and run the same command again" in failed
    assert on_record(tmp_path) == list(range(len(written)))
    assert len(written) > 10
    with writer(tmp_path, 30) as process:  # there is room again
        assert process.communicate(timeout=60)[0].splitlines()[-1].isdigit()
        assert process.returncode == 0
    assert len(on_record(tmp_path)) >= len(written) + 30


def test_no_room_for_the_new_ledger_leaves_the_damaged_one(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        for i in range(200):
            ledger.add_attempt(f"{i:032x}", 64, Attempt(f"t{i}", 0, "x" * 4000, None, "stop", 7, 9, None, 0.5, "m"))
    before = (tmp_path / "ledger.sqlite").read_bytes()
    script = f"{SMALL_DISK}\nimport sys\nfrom pathlib import Path\nfrom stillroom.sampling.ledger import Ledger\n"
    script += "from stillroom.errors import LedgerError\ntry:\n    Ledger.salvage(Path(sys.argv[1]))\n"
    script += "except LedgerError as error:\n    print(error)\n"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "free some space" in ended.stdout, ended.stderr
    assert (tmp_path / "ledger.sqlite").read_bytes() == before
    assert Ledger.salvage(tmp_path).attempts == 200


@pytest.mark.parametrize("what", ["run", "salvage"])
def test_a_second_process_is_refused_with_exit_code_1(tmp_path: Path, what: str) -> None:
    recipe, out = write_sums(tmp_path), tmp_path / "run"
    out.mkdir()
    with writer(out):
        (out / "run.json").write_text('{"name": "sums"}')
        words = ("run", recipe, "--out", out) if what == "run" else ("status", out, "--salvage")
        second = stillroom(*words)
    assert second.returncode == 1
    assert f"another process is working on {out}" in " ".join(second.stderr.split())
    assert len(second.stderr.splitlines()) == 1
    Ledger.open(out).close()  # the lock died with the process
