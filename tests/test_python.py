"""The Python calls as the pages show them: every block runs, as a script and in a notebook's kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

import stillroom

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/python.md"]
ENOUGH_S = 1800.0


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@contextmanager
def kernel(folder: Path) -> Iterator[BlockingKernelClient]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    manager, client = start_new_kernel(cwd=str(folder), env=os.environ | {"PYTHONPATH": path})
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def output_of(client: BlockingKernelClient, code: str) -> str:
    """What a cell printed and what it came to. Fails where it raises."""
    said: list[str] = []

    def heard(message: dict[str, dict[str, object]]) -> None:
        content = message["content"]
        said.append(str(content.get("text") or (content.get("data") or {"text/plain": ""})["text/plain"]))  # type: ignore[index]

    reply = client.execute_interactive(code, output_hook=heard, timeout=ENOUGH_S)["content"]
    assert reply["status"] == "ok", "\n".join(reply.get("traceback", ()))
    return "".join(said)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs_as_a_script(page: str, tmp_path: Path) -> None:
    assert blocks(page)
    (tmp_path / "page.py").write_text("\n".join(blocks(page)), encoding="utf-8")
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs_in_a_notebook(page: str, tmp_path: Path) -> None:
    with kernel(tmp_path) as client:
        said = [output_of(client, block) for block in blocks(page)]
    assert "sampled" in said[0], "no progress was shown"
    if page == "docs/python.md":
        assert "RunResult(folder=" in said[0]
        assert "accepted" in said[4]


def test_completion_in_a_notebook_offers_the_calls(tmp_path: Path) -> None:
    with kernel(tmp_path) as client:
        output_of(client, "import stillroom")
        client.complete("stillroom.", 10)
        offered = client.get_shell_msg(timeout=60)["content"]["matches"]
    assert {f"stillroom.{name}" for name in stillroom.__all__} <= {
        f"stillroom.{each.removeprefix('stillroom.')}" for each in offered
    }
