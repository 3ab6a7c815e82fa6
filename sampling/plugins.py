"""Code of the user's that a recipe names: `{kind: python, path: "mine.py:score", …settings}`.

Before any of it runs, the user has to agree to exactly these bytes:

    codes = codes_in(recipe, base)                                  # which files, which functions, which hashes
    require_trust(codes, trust=False, trusted=run["trusted"])       # InputError unless all were agreed to
    check_codes(recipe, base)                                       # RecipeError for what cannot be called
    run["trusted"] = sorted({code.sha256 for code in codes})

A function that is not async runs in worker processes with limits of time and memory; what it prints is caught, and
what it starts is killed with it. One that is async runs in this process's event loop, with a limit of time alone.

What a function decides is kept under the hash of its file and its settings: an edited function is asked again, the
same one never twice. Modules that the file imports are not part of the hash.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import pickle
import re
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stillroom.common.hashing import digest
from stillroom.common.records import State, Verdict
from stillroom.common.run_async import quiet
from stillroom.common.secrets import keep_key, looks_random, named, names_a_secret, secrets_in
from stillroom.errors import CheckerError, InputError, MissingFile, RecipeError, StillroomError
from stillroom.sampling.workers.code import Function, Unusable, load, plain, where_raised
from stillroom.sampling.workers.pool import OVER_LIMIT, TIMEOUT, Program, Threads, WorkerLost, WorkerPool

ERROR = "error"
"""The reason of what a function raised, or gave back that is not understood."""

_PATH = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)")

# Hashes of the files that may run in this process. Code is only ever loaded through here, so that a call which forgot
# to ask runs nothing.
_trusted: set[str] = set()


class Code(NamedTuple):
    """A function that a recipe names. `key`: where the recipe does; `sha256`: of its file."""

    key: str
    file: Path
    name: str
    sha256: str

    @property
    def said(self) -> str:
        """As messages call it."""
        return f"{self.key}: {self.file.name}:{self.name}"


class PythonCode(BaseModel):
    """Base of the settings of a function of the user's, for a kind `python`; give it as the last base.

    Every other key is handed to the function as a keyword argument.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    given: ClassVar[tuple[str, ...]]
    """What the function is called with, for messages."""
    may_be: ClassVar[frozenset[str]] = frozenset({"plain", "async"})
    """Whether the function may be a plain one, an async one, or either."""

    path: str
    """The file, relative to the recipe's folder, and the function in it: `mine.py:score`."""
    timeout_s: float = Field(default=5.0, gt=0)
    """Time limit of one call, in seconds."""
    memory_mb: int = Field(default=2048, ge=512)
    """Address space of a worker in MB, where the platform can limit it."""

    @field_validator("path")
    @classmethod
    def _names_both(cls, path: str) -> str:
        if _PATH.fullmatch(path) is None:
            raise ValueError(f"path is {path!r}: write the file and the function, such as mine.py:score")
        return path

    @model_validator(mode="after")
    def _no_key(self) -> PythonCode:
        if (place := next(secrets_in(self.keywords), None)) is not None:
            raise ValueError(f"{place} looks like a secret: let the function read it from the environment")
        return self

    @property
    def keywords(self) -> dict[str, Any]:
        """What the function is given besides: the recipe's other keys, as plain data."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key in (self.model_extra or {})}

    @property
    def file_part(self) -> str:
        """The file without the function."""
        return self.path.rpartition(":")[0]

    @property
    def function_part(self) -> str:
        """The function without the file."""
        return self.path.rpartition(":")[2]

    def code(self, base: Path, key: str) -> Code:
        """The function with the hash of its file. Raises MissingFile. Runs nothing."""
        file = (base / self.file_part).resolve()
        try:
            return Code(key, file, self.function_part, hashlib.sha256(file.read_bytes()).hexdigest())
        except OSError as error:
            raise MissingFile(f"{key}.path: {file} cannot be read ({error.strerror}): correct the path") from None

    def identity_at(self, base: Path, **more: Any) -> str:
        """The function's name, the hash of its file, and one of its settings; `more`: further ones that decide."""
        code = self.code(base, "path")
        return f"python:{code.name}@{code.sha256[:16]}:{digest([self.keywords, more], 12)}"

    def hosted(self, base: Path, key: str, *, workers: int = 1) -> Hosted:
        """The function, ready to be called. Raises MissingFile. Runs nothing yet."""
        return Hosted(self.code(base, key), self, workers)


class Returned(NamedTuple):
    """What came of a call: a plain `value`, a `verdict`, or a failure with its reason (`error`, `timeout` or
    `over_limit`) and what happened, with its line. `other`: what an async function returned, whatever it is.
    `of_a_connection`: what it raised is an OSError, so the same call may end well later."""

    value: bool | float | str | None = None
    verdict: Verdict | None = None
    other: object = None
    reason: str = ""
    detail: str = ""
    of_a_connection: bool = False
    seconds: float = 0.0


class Hosted:
    """A function in its workers, or, where it is async, in this process. Nothing runs before `start`, or a call.

    Close it. Every call may raise InputError for code that nobody has agreed to, RecipeError for a function that
    cannot be used, and CheckerError where no worker can be started.
    """

    def __init__(self, code: Code, settings: PythonCode, workers: int) -> None:
        self.code, self.said, self._settings = code, code.said, settings
        spec: dict[str, Any] = {"file": str(code.file), "name": code.name, "sha256": code.sha256}
        spec |= {"given": list(settings.given), "keywords": settings.keywords}
        program = Program(
            "stillroom.sampling.workers.code",
            settings.memory_mb,
            code.said,
            (json.dumps(spec),),
            refused=RecipeError,
            is_code_of_the_user=True,
        )
        self._pool, self._threads = WorkerPool(program, workers), Threads(workers)
        self._finalizer = weakref.finalize(self, self._pool.close)
        self._function: Function | None = None
        self._starting, self._started = threading.Lock(), False

    def start(self) -> None:
        """Starts a worker, which loads and checks the function. One that is async is then loaded here."""
        with self._starting:
            if self._started:
                return
            require_trust([self.code], trust=False, trusted=_trusted)
            # A function may read what looks like a key in the environment, and raise an error that holds it.
            for name, value in os.environ.items():
                # Without a digit it may be a word, such as a session's kind.
                has_a_digit = any(character.isdigit() for character in value)
                if names_a_secret(name) and has_a_digit and looks_random(value) and not os.path.exists(value):
                    keep_key(value)
            try:
                kind = "async" if self._pool.hello()["async"] else "plain"
            except CheckerError as error:
                if isinstance(error.__cause__, WorkerLost):  # while it was imported
                    raise RecipeError(
                        f"{self.said} cannot be used: importing it crashes or hangs: {error}"
                    ) from error
                raise
            if kind not in self._settings.may_be:
                wanted = {"plain": "an async function: write `async def", "async": "a plain function: write `def"}
                raise RecipeError(f"{self.said} cannot be used: it has to be {wanted[kind]} {self.code.name}(…)`")
            if kind == "async":
                self._pool.close()
                try:
                    with quiet():
                        self._function = load(str(self.code.file), self.code.name, self.code.sha256)
                except Unusable as error:
                    raise RecipeError(f"{self.said} cannot be used: {error}") from None
            self._started = True

    def call(self, *arguments: Any) -> Returned:
        """Calls a plain function and waits. Never raises for what it does."""
        self.start()
        job = {"arguments": base64.b64encode(pickle.dumps(arguments)).decode()}
        asked = self._pool.ask(job, self._settings.timeout_s)
        returned = Returned(reason=asked.reason, detail=asked.detail) if asked.reason else read_reply(asked.reply)
        return returned._replace(seconds=asked.seconds)

    async def acall(self, *arguments: Any) -> Returned:
        """Calls it without blocking the event loop. Never raises for what it does, but for a StillroomError of an
        async function, which is passed on."""
        if not self._started:
            await asyncio.to_thread(self.start)
        if self._function is None:
            return await asyncio.wrap_future(self._threads.get().submit(self.call, *arguments))
        limit = asyncio.timeout(self._settings.timeout_s)
        try:
            with quiet():
                async with limit:
                    value = await self._function(*arguments, **self._settings.keywords)
        except StillroomError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code: it may raise anything
            if isinstance(error, TimeoutError) and limit.expired():  # else it is the function's own
                return Returned(reason=TIMEOUT, detail=f"no answer within {self._settings.timeout_s:g} s")
            return raised(error, str(self.code.file))
        return read_reply(plain(value))._replace(other=value)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of a function that gives an iterable. Raises RecipeError for what it raises."""
        self.start()
        taken = 0
        while True:
            asked = self._pool.ask({"rows": taken}, self._settings.timeout_s)
            if asked.reason or "error" in asked.reply:
                raise RecipeError(f"{self.said}: {asked.detail if asked.reason else asked.reply['error']}")
            rows = asked.reply["rows"]
            if not rows:
                return
            taken += len(rows)
            yield from rows

    def close(self) -> None:
        """Ends its workers. Safe to call twice."""
        self._pool.close()
        self._threads.close()


def raised(error: BaseException, file: str) -> Returned:
    """What came of a call that raised `error`; `file`: the function's."""
    detail = named(where_raised(error, file))
    return Returned(reason=ERROR, detail=detail, of_a_connection=isinstance(error, OSError))


def read_reply(reply: Mapping[str, Any]) -> Returned:
    """What `code.plain`, or a worker, says about a call."""
    if "error" in reply:
        printed = f" (it had printed: {reply['printed']})" if reply.get("printed") else ""
        reason = OVER_LIMIT if reply.get("over_limit") else ERROR
        return Returned(reason=reason, detail=named(f"{reply['error']}{printed}"))
    if "type" in reply:
        return Returned(reason=ERROR, detail=f"it returned a {reply['type']}, which is not understood")
    if "verdict" in reply:
        state, reason, score, detail = reply["verdict"]
        return Returned(verdict=Verdict(State(state), reason, score, detail))
    return Returned(reply["value"])


def codes_in(recipe: Any, base: Path) -> list[Code]:
    """The functions that a recipe names, with the hashes of their files. Runs nothing. Raises MissingFile."""
    return [settings.code(base, key) for key, settings in _found(recipe, ())]


def trusted() -> frozenset[str]:
    """The hashes of what may run in this process."""
    return frozenset(_trusted)


def trust(hashes: Collection[str]) -> None:
    """Lets code run here that was agreed to in the process which sends this one its work."""
    _trusted.update(hashes)


def require_trust(codes: Sequence[Code], *, trust: bool, trusted: Collection[str] = ()) -> None:
    """Lets these functions run in this process. `trust`: the user has just said so (`--trust`); `trusted`: the hashes
    that were agreed to before, for this run.

    Raises InputError that names each file and hash, unless all of them were agreed to.
    """
    new = [code for code in codes if not trust and code.sha256 not in trusted]
    if new:
        files = "\n".join(f"  {code.said} ({code.file}, SHA-256 {code.sha256})" for code in new)
        changed = " or have changed since they were" if trusted else ""
        raise InputError(
            f"this recipe runs code that is not trusted yet{changed}:\n{files}\n"
            "Read it, then run the same command with --trust (in Python: trust=True)"
        )
    _trusted.update(code.sha256 for code in codes)


def check_codes(recipe: Any, base: Path) -> None:
    """Loads each function in a worker and looks at how it can be called, before anything is paid for.

    Raises RecipeError, which lists what is wrong with each and how to fix it.
    """
    wrong = []
    for key, settings in _found(recipe, ()):
        function = settings.hosted(base, key)
        try:
            function.start()
        except RecipeError as error:
            wrong.append(str(error))
        finally:
            function.close()
    if wrong:
        raise RecipeError("\n".join(wrong))


def _found(value: Any, key: tuple[str, ...]) -> Iterator[tuple[str, PythonCode]]:
    """Every function's settings in a recipe, with their key."""
    if isinstance(value, PythonCode):
        yield ".".join(key), value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _found(getattr(value, name), (*key, name))
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _found(each, (*key, str(name)))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for number, each in enumerate(value, 1):
            yield from _found(each, (*key, str(number)))
