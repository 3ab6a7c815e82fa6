"""A virtual environment for a program that the tests run and Stillroom does not need: made once, and kept."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

_ENOUGH_S = 600


class CannotInstall(Exception):
    """The packages cannot be had here: says why in a line."""


def environment(folder: Path, *requirements: str) -> Path:
    """The `bin` of an environment in `folder` with these packages, made where it is not there yet. Raises CannotInstall."""
    ready, programs = folder / "ready", folder / "venv" / "bin"
    if ready.is_file() and ready.read_text(encoding="utf-8") == "\n".join(requirements):
        return programs
    shutil.rmtree(folder / "venv", ignore_errors=True)
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    venv.create(folder / "venv", with_pip=uv is None)
    install = [uv, "pip", "install"] if uv else [str(programs / "pip"), "install", "--disable-pip-version-check"]
    words = [*install, "--quiet", *(["--python", str(programs / "python")] if uv else []), *requirements]
    try:
        subprocess.run(words, capture_output=True, text=True, check=True, timeout=_ENOUGH_S)
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"no {', '.join(requirements)} within {_ENOUGH_S} s") from None
    except subprocess.CalledProcessError as failed:
        said = (failed.stderr.strip() or "no reason given").splitlines()[-1]
        raise CannotInstall(f"{', '.join(requirements)} cannot be installed: {said[:200]}") from None
    ready.write_text("\n".join(requirements), encoding="utf-8")
    return programs
