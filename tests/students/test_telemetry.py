"""Nobody is told of a training: trl reports every trainer to the hub, unless it is kept from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from bench.train_resume import row
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.students.records import TrainingPlace

pytest.importorskip("trl")
DISTIL: dict[str, Any] = {"method": "distil", "objectives": [{"kind": "hard"}, {"kind": "base_kl", "weight": 0.1}]}


@pytest.mark.parametrize("given", [{"method": name} for name in ("sft", "dpo", "kto", "orpo")] + [DISTIL], ids=str)
def test_no_trainer_reports_itself(
    given: dict[str, Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.trainer import base_trainer

    told: list[Any] = []
    monkeypatch.setattr(base_trainer, "send_telemetry", lambda *args, **more: told.append((args, more)))
    base = {"model": str(tiny), "epochs": 1, "batch_size": 4, "dtype": "float32", "lora": {"r": 2}}
    settings: StudentSettings = TypeAdapter(Student).validate_python(base | given)
    rows = [row(i, settings.method) for i in range(4)]
    settings.train(rows, tmp_path / "student", seed=1, place=TrainingPlace())
    assert told == []
