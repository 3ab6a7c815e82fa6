"""Batch APIs as a way to ask: the settings. What asks is loaded when a teacher is made.

>>> BatchSettings().requests
50000
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stillroom.common.settings import Settings


class BatchSettings(Settings):
    """How requests are put into files, and how their answers are waited for."""

    requests: int = Field(default=50_000, ge=1, le=50_000)
    """Requests in a file at most. OpenAI takes 50,000."""
    megabytes: int = Field(default=200, ge=1, le=200)
    """Size of a file at most, in megabytes. OpenAI takes 200."""
    in_flight: int = Field(default=50_000, ge=1)
    """Requests that wait for their answers at once, over all files together; in the place of `concurrency`."""
    poll_s: float = Field(default=30.0, gt=0)
    """Seconds between two looks at a batch."""
    gather_s: float = Field(default=5.0, ge=0)
    """Seconds without a further request after which a file is closed: of requests that are asked again, say. A run
    closes it sooner, once all is drawn that can be without an answer."""
    window: str = Field(default="24h", pattern=r"^\d{1,4}[hd]$")
    """Time that the server is given, as it wants it written. OpenAI knows `24h` only."""
    ahead: bool | Annotated[int, Field(ge=0)] = False
    """Draws in a file at most that may turn out not to be needed, and are paid for all the same: fewer waves, higher
    cost. In the place of the teacher's `ahead`."""
    dir: Annotated[str, Field(min_length=1)] | None = None
    """Folder in which files are exchanged, and no server is asked: requests are written to it, and answers read from
    it. Relative to the recipe; null: files go to the server, and copies are kept in the run's folder."""
