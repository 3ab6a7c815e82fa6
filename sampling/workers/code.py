"""The worker that runs a function of the user's: `python -m stillroom.sampling.workers.code MEMORY_MB SPEC`.

SPEC is JSON: `file`, `name`, `sha256`, `given` (names of the arguments), `keywords`. A job holds the arguments,
pickled by the owner; a reply holds what the function returned, in plain data, or where it raised what. What it prints
is caught, and the end of it comes with an error. What it starts and leaves running is killed after each job.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import io
import json
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from stillroom.sampling.functions import Function, Unusable, check_call, is_async, load, plain, where_raised
from stillroom.sampling.workers import leftovers
from stillroom.sampling.workers.child import CannotStart, Reply, serve

PRINTED = 500
"""Characters of what was printed last that come with an error."""
ROWS = 1000
"""Rows of an iterator that are handed over at once."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


class Tail(io.TextIOBase):
    """A stream that keeps the end of what is written to it."""

    def __init__(self) -> None:
        self._text = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Keeps the end."""
        self._text = (self._text + text[-PRINTED:])[-PRINTED:]
        return len(text)

    def take(self) -> str:
        """What was written since the last time, on one line."""
        taken, self._text = self._text, ""
        return " ".join(taken.split())


class Runner:
    """Calls the function, job by job."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._file, self._keywords = spec["file"], spec["keywords"]
        self._spec = spec
        self._function: Function | None = None
        self._rows: Iterator[Any] | None = None
        self._handed_over = 0
        self._printed = Tail()

    def warm(self) -> None:
        """Loads the function. Raises CannotStart."""
        sys.stdout = sys.stderr = self._printed
        # Else only what it starts itself is its child. Not on Linux: nothing to do.
        with contextlib.suppress(Exception):
            ctypes.CDLL(None).prctl(_SUBREAPER, 1)
        try:
            function = load(self._file, self._spec["name"], self._spec["sha256"])
            check_call(function, self._spec["given"], self._keywords)
        except Unusable as error:
            raise CannotStart(str(error)) from None
        self._function = function

    @property
    def is_async(self) -> bool:
        """Whether the function is to be awaited, which is done elsewhere."""
        return self._function is not None and is_async(self._function)

    def answer(self, job: dict[str, Any]) -> Reply:
        """The function's answer to one job, or the next rows of what it gave."""
        try:
            return Reply(self._rows_from(job["rows"]) if "rows" in job else self._called(job))
        except MemoryError as error:
            return Reply({"error": where_raised(error, self._file), "over_limit": True}, sound=False)
        except BaseException as error:  # noqa: BLE001 - whatever it raises, SystemExit too, costs this job alone
            return Reply({"error": where_raised(error, self._file), "printed": self._printed.take()})
        finally:
            self._printed.take()
            _end_children()

    def _called(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._function is not None
        arguments = pickle.loads(base64.b64decode(job["arguments"]))
        return plain(self._function(*arguments, **self._keywords))

    def _rows_from(self, start: int) -> dict[str, Any]:
        """The next rows, of which `start` came before."""
        if self._rows is None:
            assert self._function is not None
            self._rows = iter(self._function(**self._keywords))
        if start != self._handed_over:  # the worker that had begun was killed, and this one is another
            return {"error": "somebody killed its worker: run the same command again"}
        rows = list(islice(self._rows, ROWS))
        try:
            json.dumps(rows)
        except (TypeError, ValueError) as error:
            return {"error": f"its rows are not plain data: {error}"}
        self._handed_over += len(rows)
        return {"rows": rows}


def _end_children() -> None:
    """Kills what the job has started and left running."""
    if not hasattr(os, "waitid"):
        return
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # it has no children: the usual case, and cheap to find
        return
    leftovers.kill_marked(os.environ.get(leftovers.VARIABLE, ""), but=os.getpid())
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> int:
    """Serves until the input ends."""
    runner = Runner(json.loads(sys.argv[2]))
    mark = os.environ.get(leftovers.VARIABLE, "")
    return serve(
        runner.warm,
        runner.answer,
        memory_mb=int(sys.argv[1]),
        may_write=True,
        hello=lambda: {"async": runner.is_async},
        ended=lambda: leftovers.kill_marked(mark, but=os.getpid()),
    )


if __name__ == "__main__":
    sys.exit(main())
