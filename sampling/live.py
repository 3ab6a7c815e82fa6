"""Functions of a Python program in a recipe that is a dict: as its teacher, its scorer, or one of its filters.

    async def ask(messages, sampling): ...

    stillroom.run({"name": "mine", "tasks": rows, "teacher": ask, "scorer": score, "filters": [short], …})

They run in this process, so nothing limits their time or memory. In the ledger a function is known by its name and
the hash of its source: an edited one is asked again. What it closes over, or calls, is not part of the hash. The
`recipe.yaml` of such a run names its functions, and cannot be run by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from stillroom.errors import InputError, StillroomError
from stillroom.sampling.plugins import Returned, raised, read_reply
from stillroom.sampling.workers.code import Function, Unusable, check_call, is_async, plain

KIND = "function"


def as_kind(tag: str) -> Callable[[Any], Mapping[str, Any] | None]:
    """What a registry reads a bare value as: a function is one of kind `function`."""
    return lambda value: {tag: KIND, "function": value} if callable(value) else None


class LiveFunction(BaseModel):
    """Base of the kinds `function`; give it as the last base. `called`, `sha256`: the function's name and the hash of
    its source, which are what `recipe.yaml` holds of it."""

    model_config = ConfigDict(frozen=True)
    in_yaml: ClassVar[bool] = False

    function: SkipJsonSchema[Any] = Field(default=None, exclude=True, repr=False)
    called: str = ""
    sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        function = values.get("function") if isinstance(values, Mapping) else None
        if function is None:
            return values
        if not callable(function):
            raise ValueError(f"function is a {type(function).__name__}: give a Python function")
        name = getattr(function, "__qualname__", type(function).__qualname__)
        try:
            source = inspect.getsource(function if inspect.isroutine(function) else type(function))
        except (OSError, TypeError):  # typed at a prompt
            source = _compiled(getattr(function, "__code__", None))
        return {**values, "called": name, "sha256": hashlib.sha256(source.encode()).hexdigest()}

    @property
    def name_and_hash(self) -> str:
        """Which function it is, for the ledger."""
        return f"function:{self.called}@{self.sha256[:16]}"

    def live(self, given: tuple[str, ...], *, may_be_plain: bool = True) -> Live:
        """The function, ready to be called. `given`: what its arguments are, for messages.

        Raises InputError where the program that has the function is not this one, or it cannot be called so.
        """
        if self.function is None:
            raise InputError(
                f"{self.called or 'the function'} was a function of the Python program that made this run: call "
                "stillroom.run from that program again"
            )
        if not (may_be_plain or is_async(self.function)):
            raise InputError(f"{self.called} is a plain function, and this one must be async: write async def")
        try:
            check_call(self.function, given, {})
        except Unusable as error:
            raise InputError(str(error)) from None
        return Live(self.function, self.called)


class Live:
    """A function of this process, called as `plugins.Hosted` calls one in a worker."""

    def __init__(self, function: Function, said: str) -> None:
        self._function, self.said = function, said
        self._file = getattr(getattr(function, "__code__", None), "co_filename", "")

    async def acall(self, *arguments: Any) -> Returned:
        """Calls it; a function that is not async runs in a thread. Raises StillroomError where it does."""
        try:
            if is_async(self._function):
                value = await self._function(*arguments)
            else:
                value = await asyncio.to_thread(self._function, *arguments)
        except StillroomError:
            raise
        except Exception as error:  # noqa: BLE001 - it is the user's code: it may raise anything
            return raised(error, self._file)
        return read_reply(plain(value))._replace(other=value)

    def call(self, *arguments: Any) -> Returned:
        """Calls one that is not async."""
        try:
            return read_reply(plain(self._function(*arguments)))
        except Exception as error:  # noqa: BLE001 - as above
            return raised(error, self._file)

    def close(self) -> None:
        """Nothing is held."""


def _compiled(code: CodeType | None) -> str:
    """What a function does, where its source is not at hand."""
    if code is None:
        return ""
    constants = [_compiled(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
