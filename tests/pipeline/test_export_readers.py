"""Exported rows as LLaMA-Factory and axolotl read them: with their own code, told by the settings that are printed.

Held here: what they train on is the completion and nothing else, to the character, thinking included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stillroom
from tests.conftest import install_packages
from tests.pipeline.export_readers import Example
from tests.pipeline.test_export import LONGER, PAIRS, SFT, written

TOOLS = {
    "axolotl": ("axolotl==0.19.0", "addict==2.4.0", "colorama==0.4.6"),
    "llamafactory": ("llamafactory==0.9.5", "omegaconf==2.3.0", "antlr4-python3-runtime==4.9.3"),
}
END = "<|im_end|>"


@pytest.fixture(scope="module", params=sorted(TOOLS))
def tool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A tool's name, and the folder that holds its packages."""
    folder = install_packages(tmp_path_factory.mktemp(request.param), TOOLS[request.param])
    if request.param == "llamafactory":  # imported at its start, and used for sound only
        (folder / "torchaudio.py").touch()
    return request.param, folder


def read(tool: tuple[str, Path], rows: list[dict[str, Any]], tmp_path: Path, tokenizer: Path) -> list[Example]:
    """The rows, exported for a tool and read back by it."""
    name, packages = tool
    out = tmp_path / "out" / "rows.jsonl"
    out.parent.mkdir()
    usage = stillroom.export(written(tmp_path / "rows", rows), rows=name, out=out).usage
    environment = dict(os.environ, PYTHONPATH=str(packages), DISABLE_VERSION_CHECK="1", HF_HUB_OFFLINE="1")
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("export_readers.py")), name, str(out), str(tokenizer), usage],
        env=environment | {"HF_DATASETS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: list[Example] = json.loads(ended.stdout.splitlines()[-1])
    return found


def test_the_completion_alone_is_trained_on(tool: tuple[str, Path], tmp_path: Path, tiny: Path) -> None:
    rows = [*SFT, LONGER]
    for example, row in zip(read(tool, rows, tmp_path, tiny), rows, strict=True):
        assert example["trained"].removesuffix("\n") == row["completion"][0]["content"] + END
        assert [turn["content"] in example["whole"] for turn in row["prompt"]] == [True] * len(row["prompt"])


def test_both_sides_of_a_pair_follow_the_prompt(tool: tuple[str, Path], tmp_path: Path, tiny: Path) -> None:
    for example, pair in zip(read(tool, PAIRS, tmp_path, tiny), PAIRS, strict=True):
        for side in ("chosen", "rejected"):
            assert example[side].removesuffix("\n") == pair[side][0]["content"] + END
        assert [turn["content"] in example["prompt"] for turn in pair["prompt"]] == [True] * len(pair["prompt"])
