r"""The process that drives Math-Verify: `python -m stillroom.traces.answers.math_verify.worker MEMORY_MB`.

It is driven as its README does, `verify(parse(gold), parse(answer))` with its defaults, and with one difference: its
own time-outs are off, since they are alarms that only work in a main thread and count as "not equal". Whoever owns
this process keeps the time, and kills it. The protocol is the one of `worker.py`, with a task in each job:

    {"task": "verify", "gold": "1/2", "answer": "$0.5$", "limit_s": 5.0}    {"accepted": true}
    {"task": "explain", ...}                                               what it has read; see `explain`

It compares nothing itself, and what it reports is what Math-Verify says about its readings.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
from dataclasses import replace
from typing import Any

from stillroom.sampling.workers.child import CannotStart, Reply, serve

SHOWN = 2000
"""Characters of a reading that are reported."""
DIGITS = 30
"""Digits to which two readings are evaluated to say how far apart they are."""
_NUMBER = re.compile(r"\s*[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?\s*%?\s*")
_MARKED = ("$", "\\(", "\\[", "\\boxed", "####")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[:,]?\s+[A-Za-z]{2,}")
_BRACED = re.compile(r"\\[A-Za-z]+\s*\{[^{}]*\}")


def wrapped(text: str) -> str:
    """A bare formula between dollars, without which Math-Verify does not read LaTeX; anything else as it is."""
    bare = not any(mark in text for mark in _MARKED) and "\n" not in text.strip() and len(text) < 4096
    if not bare or _NUMBER.fullmatch(text) or _PROSE.search(_BRACED.sub(" ", text)):
        return text
    return f"${text.strip()}$"


class Faults(logging.Handler):
    """Collects the exceptions that Math-Verify swallows: it logs them and says "not equal"."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the name of an exception that was logged."""
        if record.exc_info and record.exc_info[0] is not None:
            self.names.append(record.exc_info[0].__name__)


class Driver:
    """Math-Verify, loaded."""

    def __init__(self) -> None:
        self._library = importlib.import_module("math_verify")
        self._sympy = importlib.import_module("sympy")
        self._faults = Faults()
        logger = logging.getLogger("math_verify")
        logger.addHandler(self._faults)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False

    def parse(self, text: str, *, units: bool = True) -> list[Any]:
        """Its reading of a text: an expression and the text it is from, the text alone, or nothing."""
        latex = self._library.LatexExtractionConfig()
        if not units:
            latex = replace(latex, normalization_config=replace(latex.normalization_config, units=False))
        found: list[Any] = self._library.parse(
            wrapped(text), [latex, self._library.ExprExtractionConfig()], parsing_timeout=None
        )
        return found

    def equal(self, gold: list[Any], answer: list[Any]) -> bool:
        """Its verdict on two readings."""
        return bool(self._library.verify(gold, answer, timeout_seconds=None))

    def verify(self, gold: str, answer: str) -> dict[str, Any]:
        """Its verdict on two texts. `error`: what it ran out of, which is not a verdict."""
        self._faults.names.clear()
        accepted = self.equal(self.parse(gold), self.parse(answer))
        if not accepted and "MemoryError" in self._faults.names:
            return {"error": "out of memory"}
        return {"accepted": accepted}

    def explain(self, gold: str, answer: str) -> dict[str, Any]:
        """The facts behind a verdict.

        `gold`, `answer`: {"text", "reading", "kind", "symbols"}, what it took from a text and made of it. `back`:
        its verdict with the two exchanged. `kept`: its verdict when it leaves units where they are. `gap`: how far
        apart the two numbers are, relative to the larger; None where they are not two numbers. `fault`: an exception
        it swallowed, or "".
        """
        self._faults.names.clear()
        one, other = self.parse(gold), self.parse(answer)
        self.equal(one, other)
        fault = self._faults.names[0] if self._faults.names else ""
        return {
            "gold": self._side(one),
            "answer": self._side(other),
            "back": self.equal(other, one),
            "kept": self.equal(self.parse(gold, units=False), self.parse(answer, units=False)),
            "gap": self._gap(one, other),
            "fault": fault,
        }

    def _side(self, found: list[Any]) -> dict[str, str]:
        read = [item for item in found if not isinstance(item, str)]
        text = next((item for item in found if isinstance(item, str)), "")
        if not read:
            return {"text": text[:SHOWN], "reading": "", "kind": "", "symbols": ""}
        symbols = " ".join(sorted(map(str, getattr(read[0], "free_symbols", ()))))
        return {
            "text": text[:SHOWN],
            "reading": str(read[0])[:SHOWN],
            "kind": self._kind(read[0]),
            "symbols": symbols[:SHOWN],
        }

    def _kind(self, value: Any) -> str:
        """What a reading is; two kinds are hardly ever found equal."""
        sympy = self._sympy
        kinds = {
            "relation": (sympy.core.relational.Relational, sympy.logic.boolalg.BooleanFunction),
            "matrix": (sympy.MatrixBase,),
            "tuple": (sympy.Tuple,),
            "interval": (sympy.Interval, sympy.Union),
            "set": (sympy.Set,),
        }
        return next((name for name, types in kinds.items() if isinstance(value, types)), "expression")

    def _gap(self, gold: list[Any], answer: list[Any]) -> float | None:
        try:
            a, b = (complex(side[0].doit().evalf(DIGITS)) for side in (gold, answer))
            return float(abs((gold[0] - answer[0]).doit().evalf(DIGITS))) / max(abs(a), abs(b))
        except (MemoryError, RecursionError):
            raise
        except Exception:  # noqa: BLE001 - a text, a set, a relation, 0 and 0: sympy raises anything, and there is no gap
            return None


def main() -> int:
    """Serves until the input ends."""
    drivers: list[Driver] = []

    def warm() -> None:
        try:
            drivers.append(Driver())
        except ImportError as missing:
            raise CannotStart(f"{missing.name} is missing: pip install 'stillroom[math-verify]'") from None
        drivers[0].verify("$1$", "The answer is $\\frac{2}{2}$.")  # the first parse loads the grammar

    def answer(job: dict[str, Any]) -> Reply:
        do = drivers[0].explain if job["task"] == "explain" else drivers[0].verify
        try:
            return Reply(do(job["gold"], job["answer"]))
        except (MemoryError, RecursionError) as error:
            return Reply({"error": type(error).__name__}, sound=False)

    return serve(warm, answer, memory_mb=int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
