"""White-box trainings that are killed and started again, by the bench that measures it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="every training is a process that is forked")
def test_a_killed_training_on_its_own_answers_ends_with_the_same_student(tmp_path: Path) -> None:
    """SIGKILL before an answer, a verdict, a step of the optimiser, the student's files and its record, by turns."""
    file = tmp_path / "kills.json"
    command = [sys.executable, str(ROOT / "bench" / "whitebox_kills.py"), "--only", "on_policy", "--kills", "6"]
    ended = subprocess.run([*command, "--json", str(file)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert {each["kind"] for each in found} == {"answer", "verdict", "step", "saving", "record"}
    assert all(each["same"] and each["again"] <= 6 for each in found)
