"""Keeps Ctrl-C away from vLLM's processes, so that the requests in flight can still be answered.

A terminal sends Ctrl-C to every process of the foreground group, and vLLM's end at once. vLLM loads its "general
plugins" (an entry point in our pyproject.toml) in each process that it starts; ours moves that process into its
own group. It does nothing in an engine that Stillroom did not start, and nothing in the process that started it.
"""

from __future__ import annotations

import contextlib
import os

OWNER = "STILLROOM_VLLM_OWNER"
"""The variable that an engine's processes inherit for `leave_group` to act in them: who started the engine."""


def leave_group() -> None:
    """Moves this process into its own process group, if it belongs to an engine that another process started."""
    owner = os.environ.get(OWNER)
    if owner is None or owner == str(os.getpid()) or not hasattr(os, "setpgid"):
        return
    with contextlib.suppress(PermissionError):  # it leads a session already, and so has its own group
        os.setpgid(0, 0)
