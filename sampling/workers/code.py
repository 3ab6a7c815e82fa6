"""A function of the user's, loaded from a file: from exactly the bytes that were looked at, and checked before use.
And the worker that runs it: `python -m stillroom.sampling.workers.code MEMORY_MB SPEC`.

    function = load("mine.py", "score", sha256="9f86d08…")
    check_call(function, ("task", "attempt"), {"strict": True})
    where_raised(error, "mine.py")             # "mine.py:12: ZeroDivisionError: division by zero"

Loading runs the file. Whether it may run is decided before, in `plugins.py`.

SPEC is JSON: `file`, `name`, `sha256`, `given` (names of the arguments), `keywords`. A job holds the arguments,
pickled by the owner; a reply holds what the function returned, in plain data, or where it raised what. What it prints
is caught, and the end of it comes with an error. What it starts and leaves running is killed after each job.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import inspect
import io
import json
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from stillroom.common.records import Verdict
from stillroom.common.text import describe, did_you_mean
from stillroom.sampling.workers.child import MARK, CannotStart, Reply, kill_marked, serve

Function = Callable[..., Any]

SHOWN = 300
"""Characters of an exception's message that are told."""
PRINTED = 500
"""Characters of what was printed last that come with an error."""
ROWS = 1000
"""Rows of an iterator that are handed over at once."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


class Unusable(CannotStart):
    """Why a function cannot be used, in words that name the file and the fix."""


def load(file: str, name: str, sha256: str) -> Function:
    """Runs the file as a module and hands out what it calls `name`. Modules in its folder can be imported by it.

    Raises Unusable where the file has changed since its hash was taken, cannot be run, or has no such function.
    """
    path = Path(file)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None
    if hashlib.sha256(source).hexdigest() != sha256:
        raise Unusable(f"{path} has changed since it was looked at: run the command again")
    key = f"_stillroom_{path.stem}_{sha256[:12]}"
    module = sys.modules.get(key)
    if module is None:
        module = ModuleType(key)
        module.__file__ = str(path)
        folder = str(path.resolve().parent)
        if folder not in sys.path:
            sys.path.append(folder)  # last: a file in it must not take the place of a package
        sys.modules[key] = module  # dataclasses and pickle look a class's module up
        try:
            exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - these bytes were agreed to
        except BaseException as error:  # SystemExit, too: a script without a main guard
            del sys.modules[key]
            if isinstance(error, KeyboardInterrupt):
                raise
            raise Unusable(f"it cannot be imported: {where_raised(error, str(path))}") from None
    found = getattr(module, name, None)
    if found is None:
        known = [each for each, value in vars(module).items() if inspect.isfunction(value) and each[0] != "_"]
        hint = did_you_mean(name, known)
        raise Unusable(f"{path.name} has no function {name!r}: {hint}it has {', '.join(known) or 'none'}")
    if not callable(found):
        raise Unusable(f"{name} of {path.name} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def is_async(function: Function) -> bool:
    """Whether calling it gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


def check_call(function: Function, given: Sequence[str], keywords: Mapping[str, Any]) -> None:
    """Raises Unusable where the function cannot be called with the arguments `given` (their names, for the message)
    and these keywords, which come from the recipe."""
    name = getattr(function, "__name__", type(function).__name__)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function in C that does not say what it takes
        return
    called = f"{name}({', '.join(given)})"
    try:
        bound = signature.bind_partial(*given)
    except TypeError:
        raise Unusable(f"it is called as {called}, but it is {name}{signature}: change its parameters") from None
    open_names = [
        each.name
        for each in signature.parameters.values()
        if each.name not in bound.arguments and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    ]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    for key in keywords:
        if key not in open_names and not takes_any:
            known = f"its settings are {', '.join(open_names)}" if open_names else "it takes no settings"
            raise Unusable(f"unknown key {key!r}: {did_you_mean(key, open_names)}{name}{signature}: {known}")
    try:
        signature.bind(*given, **keywords)
    except TypeError as error:
        missing = str(error).rpartition("argument: ")[2]
        raise Unusable(
            f"{name}{signature} needs {missing}: give it as a key, or give the parameter a default"
        ) from None


def where_raised(error: BaseException, file: str) -> str:
    """The deepest line of the file that an exception passed through, its type, and the beginning of its message."""
    what = describe(error, SHOWN)
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{Path(file).name}:{error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{Path(file).name}:{lines[-1]}: {what}" if lines else what


def plain(value: Any) -> dict[str, Any]:
    """What a function returned, in plain data: `{"value": …}` for a bool, a number, a text or None, `{"verdict": …}`,
    or `{"type": name}` for anything else."""
    if isinstance(value, Verdict):
        return {"verdict": [value.state.value, str(value.reason), value.score, value.detail]}
    if not isinstance(value, bool | int | float | str | None) and hasattr(value, "item"):
        with contextlib.suppress(Exception):  # a number of numpy or torch; of an array it raises
            value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    return {"type": type(value).__name__}


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
        self._spec, self._file, self._keywords = spec, spec["file"], spec["keywords"]
        self._function: Function | None = None
        self._rows: Iterator[Any] | None = None
        self._handed_over = 0
        self._printed = Tail()

    def warm(self) -> None:
        """Loads the function. Raises Unusable."""
        sys.stdout = sys.stderr = self._printed
        # Else only what it starts itself is its child. Not on Linux: nothing to do.
        with contextlib.suppress(Exception):
            import ctypes

            ctypes.CDLL(None).prctl(_SUBREAPER, 1)
        function = load(self._file, self._spec["name"], self._spec["sha256"])
        check_call(function, self._spec["given"], self._keywords)
        self._function = function

    def hello(self) -> dict[str, bool]:
        """Whether the function is to be awaited, which is done elsewhere."""
        return {"async": self._function is not None and is_async(self._function)}

    def answer(self, job: dict[str, Any]) -> Reply:
        """The function's answer to one job, or the next rows of what it gave."""
        try:
            if "rows" in job:
                return Reply(self._rows_from(job["rows"]))
            assert self._function is not None
            arguments = pickle.loads(base64.b64decode(job["arguments"]))
            return Reply(plain(self._function(*arguments, **self._keywords)))
        except MemoryError as error:
            return Reply({"error": where_raised(error, self._file), "over_limit": True}, sound=False)
        except BaseException as error:  # noqa: BLE001 - whatever it raises, SystemExit too, costs this job alone
            return Reply({"error": where_raised(error, self._file), "printed": self._printed.take()})
        finally:
            self._printed.take()
            _end_children()

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
    kill_marked(os.environ.get(MARK, ""))
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> int:
    """Serves until the input ends."""
    runner = Runner(json.loads(sys.argv[2]))
    mark = os.environ.get(MARK, "")
    return serve(
        runner.warm,
        runner.answer,
        memory_mb=int(sys.argv[1]),
        may_write=True,
        hello=runner.hello,
        ended=lambda: kill_marked(mark),
    )


if __name__ == "__main__":
    sys.exit(main())
