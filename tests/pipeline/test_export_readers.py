"""Exported rows as LLaMA-Factory and axolotl read them: with their own code, told by the settings that are printed.

Held here: what they train on is the completion and nothing else, to the character, thinking included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

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


class Read(NamedTuple):
    """What a tool makes of the rows and of the pairs."""

    rows: list[Example]
    pairs: list[Example]


@pytest.fixture(scope="module", params=sorted(TOOLS))
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Read:
    """The rows and the pairs, exported for a tool and read back by it."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    packages = install_packages(folder / "packages", TOOLS[name])
    if name == "llamafactory":  # imported at its start, and used for sound only
        (packages / "torchaudio.py").touch()
    files: list[str] = []
    for kind, rows in (("rows", [*SFT, LONGER]), ("pairs", PAIRS)):
        out = folder / kind / "out.jsonl"
        usage = stillroom.export(written(out.parent, rows), rows=name, out=out).usage
        files += [str(out), usage]
    environment = {"PYTHONPATH": str(packages), "DISABLE_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("export_readers.py")), name, str(tiny), *files],
        env=os.environ | environment | {"HF_DATASETS_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return Read(*json.loads(ended.stdout.splitlines()[-1]))


def test_the_completion_alone_is_trained_on(read: Read) -> None:
    for example, row in zip(read.rows, [*SFT, LONGER], strict=True):
        assert example["trained"].removesuffix("\n") == row["completion"][0]["content"] + END
        assert [turn["content"] in example["whole"] for turn in row["prompt"]] == [True] * len(row["prompt"])


def test_both_sides_of_a_pair_follow_the_prompt(read: Read) -> None:
    for example, pair in zip(read.pairs, PAIRS, strict=True):
        for side in ("chosen", "rejected"):
            assert example[side].removesuffix("\n") == pair[side][0]["content"] + END
        assert [turn["content"] in example["prompt"] for turn in pair["prompt"]] == [True] * len(pair["prompt"])
