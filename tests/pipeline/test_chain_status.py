"""The status of a loop or a chain: its runs one by one in their order, and what stands above them are sums."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from stillroom.cli.show import parts_table, show_status
from stillroom.errors import InputError, RunFolderError
from stillroom.pipeline.planning.status import Status, attempts, counted, status, summed
from stillroom.pipeline.run.facts import parts_of
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.ledger import Totals
from tests.conftest import stillroom, write_sums
from tests.pipeline.runs import run

PLACES = ("rounds/1", "rounds/2", "rounds/10", "stages/b", "stages/a", "controls/one_round")


def run_in(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"name": "x"}')


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a loop: two rounds and a control, each a run of its own."""
    folder = tmp_path_factory.mktemp("loop")
    recipe = write_sums(folder)
    out = folder / "run"
    RunFolder(out, "sums").note(started="then", finished=None)
    for place, limit, skip in (("rounds/1", 4, 0), ("rounds/2", 5, 4), ("controls/one_round", 3, 9)):
        run(recipe, out=out / place, set=[f"tasks.limit={limit}", f"tasks.skip={skip}"], display=Display(quiet=True))
    return out


# -- the parts ---------------------------------------------------------------------------------------------------


def test_the_runs_of_a_chain_come_in_their_order(tmp_path: Path) -> None:
    for place in PLACES:
        run_in(tmp_path / place)
    found = [path.relative_to(tmp_path).as_posix() for path in parts_of(tmp_path)]
    assert found == ["rounds/1", "rounds/2", "rounds/10", "stages/a", "stages/b", "controls/one_round"]


def test_what_a_longer_chain_left_is_no_part_of_a_finished_one(tmp_path: Path) -> None:
    for place in PLACES:
        run_in(tmp_path / place)
    for parts, found in ((["rounds/1", "rounds/2"], 2), (None, 6), ("rounds/1", 6)):
        (tmp_path / "run.json").write_text(json.dumps({"name": "x", "parts": parts}))
        assert len(parts_of(tmp_path)) == found


def test_what_is_no_run_is_no_part(tmp_path: Path) -> None:
    (tmp_path / "rounds" / "1").mkdir(parents=True)
    (tmp_path / "rounds" / "notes.txt").write_text("")
    run_in(tmp_path / "controls" / "unfiltered")
    assert parts_of(tmp_path) == []
    assert parts_of(tmp_path / "nowhere") == []


@pytest.mark.parametrize("key", ["loop", "stages"])
@pytest.mark.parametrize("asked", [status, attempts])
def test_a_chain_of_which_nothing_has_begun_says_so(
    tmp_path: Path, asked: Callable[[Path], object], key: str
) -> None:
    run_in(tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").write_text(f"name: x\n{key}: {{}}\n")
    with pytest.raises(RunFolderError, match="holds many runs, and none of them has begun yet: run its recipe"):
        asked(tmp_path / "run")


# -- sums --------------------------------------------------------------------------------------------------------

TOTALS = st.builds(Totals, *[st.integers(0, 10**12)] * len(Totals._fields))


@given(st.lists(TOTALS, min_size=1, max_size=5))
def test_totals_are_summed_field_by_field(parts: list[Totals]) -> None:
    found = summed(parts)
    for name in Totals._fields:
        assert getattr(found, name) == sum(getattr(part, name) for part in parts)


@given(st.lists(st.dictionaries(st.sampled_from(["accepted", "rejected", "unscored"]), st.integers(0, 99))))
def test_verdicts_are_summed_by_state(parts: list[dict[str, int]]) -> None:
    found = counted(parts)
    assert found.keys() == {state for part in parts for state in part}
    assert all(found[state] == sum(part.get(state, 0) for part in parts) for state in found)


def test_the_status_of_a_loop_is_that_of_its_runs_and_their_sums(loop: Path) -> None:
    found, each = status(loop), [status(path) for path in parts_of(loop)]
    assert list(found.parts) == ["rounds/1", "rounds/2", "controls/one_round"]
    assert [part.as_dict() for part in found.parts.values()] == [one.as_dict() for one in each]
    assert found.totals == summed(one.totals for one in each)
    assert found.totals.attempts == sum(found.verdicts.values()) > 12
    assert found.rows == sum(one.rows or 0 for one in each) > 0
    assert (found.name, found.started, found.finished, found.plan) == ("sums", "then", None, None)
    assert found.no_plan.endswith(f"stillroom status {loop / 'rounds' / '1'}")


@pytest.mark.parametrize("more", [{"set": ["keep.per_task=1"]}, {"recipe": "quickstart"}, {"salvage": True}])
def test_what_can_be_asked_of_one_run_only_is_refused(loop: Path, more: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"holds 3 runs: ask of one of them, such as .*rounds/1") as caught:
        status(loop, **more)
    assert str(caught.value).count("\n") == 0
    assert status(loop / "rounds" / "2", **({} if "recipe" in more else more)).totals.attempts > 0


# -- on the terminal ---------------------------------------------------------------------------------------------


def test_each_run_has_a_line(loop: Path) -> None:
    shown = stillroom("status", loop)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = {line.split()[0]: line.split() for line in shown.stdout.splitlines() if line.strip()}
    for name, part in status(loop).parts.items():
        accepted, attempts = part.verdicts["accepted"], sum(part.verdicts.values())
        assert lines[name][1:4] == [str(attempts), str(accepted), str(part.rows)]
        assert lines[name][-1] == "finished"
    read = json.loads(stillroom("status", loop, "--json").stdout)
    assert read == status(loop).as_dict()


def test_a_run_that_is_not_finished_has_no_rows_yet() -> None:
    totals = Totals(*[0] * len(Totals._fields))
    part = Status(Path("x"), "x", None, None, totals, {"accepted": 3, "none": 2}, {}, (), None, None, None, "", None)
    console = Console(file=io.StringIO(), width=100)
    console.print(parts_table({"rounds/[b]1": part}))
    file = console.file
    assert isinstance(file, io.StringIO)
    assert file.getvalue().splitlines()[1].split() == ["rounds/[b]1", "5", "3", "–", "0", "not", "finished"]


def test_showing_it_wraps_no_line(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_status(status(loop))
    printed = capsys.readouterr().out
    assert f"what would be paid for now cannot be said: {loop} holds 3 runs" in printed
