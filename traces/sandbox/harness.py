"""The script that runs an answer's code with the tests, within the sandbox; it imports nothing of ours.

Its input is one JSON object: `code`, `fenced` (else the code is a whole text, which may be prose), `tests`, `nonce`
and `report` (descriptors). It writes one word to `report`: why nothing could be run, or, after the last test, what it
reads from `nonce`. Only that word says that the tests passed: code that ends the process never gets there. Tests pass
when their script comes to its end, and every `test_…` function and `TestCase` that it defines does.
"""

from __future__ import annotations

import ast
import builtins
import errno
import json
import linecache
import os
import sys
import traceback
import types
from typing import Any, NoReturn

ATTEMPT, TESTS = "attempt.py", "tests.py"
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


def main() -> NoReturn:
    """Runs the job, and ends the process without asking what the code may have put in the way."""
    job = json.loads(sys.stdin.buffer.read())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    # Bound before the code can replace them.
    read, write, leave, report = os.read, os.write, os._exit, job["report"]
    try:
        tests = _compiled(job["tests"], TESTS)
    except UNREADABLE as error:
        write(report, f"bad_tests {type(error).__name__}: {error}"[:500].encode())
        leave(0)
    if not job["fenced"] and not _is_code(job["code"]):
        write(report, b"no_code")
        leave(0)
    try:
        _run(job["code"], tests)
        sys.stdout.flush()
    except MemoryError:
        write(report, b"memory")
        leave(1)
    except BaseException as error:  # noqa: BLE001 - SystemExit, too: it came before the end of the tests
        if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.ENOSPC):
            write(report, b"files")
        traceback.print_exc()
        leave(1)
    write(report, read(job["nonce"], 100))
    leave(0)


def _compiled(source: str, name: str) -> types.CodeType:
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)  # for the lines in a traceback
    return compile(source, name, "exec", dont_inherit=True)


def _is_code(text: str) -> bool:
    """Whether a whole text is a program: it can be read as one and does more than name things ("Yes", "42")."""
    try:
        return any(not isinstance(statement, ast.Expr) for statement in ast.parse(text).body)
    except UNREADABLE:
        return False


def _run(code: str, tests: types.CodeType) -> None:
    # Not __main__: what an answer does when it is run as a program is not wanted here.
    module = types.ModuleType("attempt")
    sys.modules["attempt"] = module
    names: dict[str, Any] = module.__dict__
    known, execute, run_defined = dict(vars(builtins)), exec, _run_defined
    execute(_compiled(code, ATTEMPT), names)  # this is what the sandbox is for
    # Tests must not run on what the code put in the place of `exec`, `len` or `TestCase.assertEqual`.
    vars(builtins).update(known)
    for name in [name for name in sys.modules if name.partition(".")[0] == "unittest"]:
        del sys.modules[name]
    before = dict(names)
    if "unittest" in tests.co_names:
        import unittest

        unittest.main = lambda *_, **__: None  # type: ignore[assignment] # it would exit; they are run below
    execute(tests, names)
    run_defined([value for name, value in names.items() if value is not before.get(name) and name[0] != "_"])


def _run_defined(defined: list[Any]) -> None:
    """Runs what the tests have defined and not run themselves."""
    for value in defined:
        if isinstance(value, types.FunctionType) and value.__name__.startswith("test_"):
            value()
    if "unittest" not in sys.modules:
        return
    import unittest

    for value in defined:
        if isinstance(value, type) and issubclass(value, unittest.TestCase):
            result = unittest.TextTestRunner(verbosity=0).run(unittest.defaultTestLoader.loadTestsFromTestCase(value))
            if not result.wasSuccessful():
                raise AssertionError(f"{value.__name__}: {len(result.failures)} failed, {len(result.errors)} raised")


if __name__ == "__main__":
    main()
