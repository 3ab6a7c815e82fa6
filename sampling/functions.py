"""A function of the user's, loaded from a file: from exactly the bytes that were looked at, and checked before use.

    function = load("mine.py", "score", sha256=sha256_of(Path("mine.py")))
    check_call(function, ("task", "attempt"), {"strict": True})
    where_raised(error, "mine.py")             # "mine.py:12: ZeroDivisionError: division by zero"

Loading runs the file. Whether it may run is decided before, in `plugins.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from stillroom.common.records import Verdict
from stillroom.common.text import describe, did_you_mean

Function = Callable[..., Any]

SHOWN = 300
"""Characters of an exception's message that are told."""


class Unusable(Exception):
    """Why a function cannot be used, in words that name the file and the fix."""


def sha256_of(file: Path) -> str:
    """The hash of a file's bytes, in hex. Raises OSError."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


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
    module = ModuleType(f"_stillroom_{path.stem}_{sha256[:12]}")
    module.__file__ = str(path)
    if module.__name__ in sys.modules:
        module = sys.modules[module.__name__]
    else:
        _run(module, source, path)
    return _function(module, name, path)


def _run(module: ModuleType, source: bytes, path: Path) -> None:
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last: a file in it must not take the place of a package
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - these bytes were agreed to
    except BaseException as error:  # SystemExit, too: a script without a main guard
        del sys.modules[module.__name__]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Unusable(f"it cannot be imported: {where_raised(error, str(path))}") from None


def _function(module: ModuleType, name: str, path: Path) -> Function:
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
        missing = (
            str(error)
            .removeprefix("missing a required argument: ")
            .removeprefix("missing a required keyword-only argument: ")
        )
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
