"""How often a reader of `evaluate(set=…)` comes back to a module of the pipeline that they had left.

    python bench/walk.py

Runs `evaluate` on a small finished run of traces, whose students are scripted, and records in which order the
functions of `pipeline/` are called first. Prints each with its module, then the modules with equal neighbours as one,
then how many of these stops are returns: a module that was there before.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import groupby
from pathlib import Path
from types import FrameType

# Run as a script, only this file's folder is on the path. Appended: nothing that is installed is hidden by a room.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from stillroom.pipeline.flows.evaluate import evaluate
from tests.pipeline.test_evaluating import QUIET, Done, done, start, write

__all__ = ["done"]  # the fixture

MARK = "/pipeline/"


def test_walk(tmp_path: Path, done: Done) -> None:
    start(write(tmp_path, baselines=["student_before"]), tmp_path / "run")
    found: dict[tuple[str, str], None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        ours = MARK in code.co_filename and "/tests/" not in code.co_filename
        if event == "call" and ours and not code.co_qualname.endswith(">"):
            module = code.co_filename.rpartition(MARK)[2].removesuffix(".py")
            found.setdefault((module, code.co_qualname))

    sys.setprofile(note)
    try:
        evaluate(tmp_path / "run", set=["evaluate.baselines=[student_before,control_wrong_answers]"], display=QUIET)
    finally:
        sys.setprofile(None)
    for module, function in found:
        print(f"{module:24} {function}")
    stops = [module for module, _ in groupby(module for module, _ in found)]
    modules = set(stops)
    print(" > ".join(stops))
    print(f"{len(found)} functions in {len(modules)} modules; {len(stops) - len(modules)} returns")


if __name__ == "__main__":
    words = [sys.executable, "-m", "pytest", __file__, "-q", "-s", "-p", "no:cacheprovider"]
    sys.exit(subprocess.call(words, cwd=Path(__file__).parents[1]))
