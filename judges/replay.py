"""Calibrates every judge of a recording and holds each against the gate: one row per judge and prompt method.

for row in await calibrate_recorded(Path("recorded_judgments.jsonl.gz"), Path("LLMBar_Natural.json")):
    print(row.judge, row.method, row.calibration.accuracy, row.gate.passed)
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from stillroom.judges.calibrate import Calibration, calibrate
from stillroom.judges.gate import GateSettings, GateVerdict, gate
from stillroom.judges.labelled import load_labelled
from stillroom.judges.recorded import load_recording, recorded_judge


class RecordedCalibration(NamedTuple):
    """A recorded judge with its prompt method, its figures, and what the gate says."""

    judge: str
    method: str
    calibration: Calibration
    gate: GateVerdict


async def calibrate_recorded(
    path: Path,
    dataset: Path,
    *,
    judges: Collection[str] | None = None,
    settings: GateSettings | None = None,
    seed: int = 0,
) -> list[RecordedCalibration]:
    """All judges of the recording `path` on the labelled pairs `dataset`, or those named in `judges`, in order of
    appearance. Raises MissingFile or InputError for what cannot be read."""
    recording, pairs = load_recording(path), load_labelled(dataset)
    ids = {pair.task.id for pair in pairs}
    present = dict.fromkeys((r.judge, r.method) for r in recording.records if r.task_id in ids)
    rows = []
    for judge, method in present:
        if judges is None or judge in judges:
            replayed = recorded_judge(recording, pairs, judge=judge, method=method)
            calibration = await calibrate(replayed, pairs, seed=seed)
            rows.append(RecordedCalibration(judge, method, calibration, gate(calibration, settings)))
    return rows
