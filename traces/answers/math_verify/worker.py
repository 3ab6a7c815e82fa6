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
    """Math-Verify."""

    def warm(self) -> None:
        """Loads it. Raises CannotStart where it is not installed."""
        try:
            self._library = importlib.import_module("math_verify")
            self._sympy = importlib.import_module("sympy")
        except ImportError as missing:
            raise CannotStart(f"{missing.name} is missing: pip install 'stillroom[math-verify]'") from None
        self._faults = Faults()
        logger = logging.getLogger("math_verify")
        logger.addHandler(self._faults)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        self.verify("$1$", "The answer is $\\frac{2}{2}$.")  # the first parse loads the grammar

    def answer(self, job: dict[str, Any]) -> Reply:
        """Does one job."""
        do = self.explain if job["task"] == "explain" else self.verify
        self._faults.names.clear()
        try:
            return Reply(do(job["gold"], job["answer"]))
        except (MemoryError, RecursionError) as error:
            return Reply({"error": type(error).__name__}, sound=False)

    def _parse(self, text: str, *, units: bool = True) -> list[Any]:
        """Its reading of a text: an expression and the text it is from, the text alone, or nothing."""
        latex = self._library.LatexExtractionConfig()
        if not units:
            latex = replace(latex, normalization_config=replace(latex.normalization_config, units=False))
        configs = [latex, self._library.ExprExtractionConfig()]
        found: list[Any] = self._library.parse(wrapped(text), configs, parsing_timeout=None)
        return found

    def _equal(self, gold: list[Any], answer: list[Any]) -> bool:
        return bool(self._library.verify(gold, answer, timeout_seconds=None))

    def verify(self, gold: str, answer: str) -> dict[str, Any]:
        """Its verdict on two texts. `error`: what it ran out of, which is not a verdict."""
        accepted = self._equal(self._parse(gold), self._parse(answer))
        if not accepted and "MemoryError" in self._faults.names:
            return {"error": "out of memory"}
        return {"accepted": accepted}

    def explain(self, gold: str, answer: str) -> dict[str, Any]:
        """The facts behind a verdict, as `disagreements.Facts` names them."""
        one, other = self._parse(gold), self._parse(answer)
        self._equal(one, other)
        fault = self._faults.names[0] if self._faults.names else ""
        try:
            a, b = (complex(side[0].doit().evalf(DIGITS)) for side in (one, other))
            gap = float(abs((one[0] - other[0]).doit().evalf(DIGITS))) / max(abs(a), abs(b))
        except (MemoryError, RecursionError):
            raise
        except Exception:  # noqa: BLE001 - a text, a set, a relation, 0 and 0: sympy raises anything, and there is no gap
            gap = None
        return {
            "gold": self._side(one),
            "answer": self._side(other),
            "back": self._equal(other, one),
            "kept": self._equal(self._parse(gold, units=False), self._parse(answer, units=False)),
            "gap": gap,
            "fault": fault,
        }

    def _side(self, found: list[Any]) -> dict[str, str]:
        """As `disagreements.Side` names it. The kind of a reading: two kinds are hardly ever found equal."""
        text = next((item for item in found if isinstance(item, str)), "")[:SHOWN]
        read = [item for item in found if not isinstance(item, str)]
        if not read:
            return {"text": text}
        sympy = self._sympy
        kinds = {
            "relation": (sympy.core.relational.Relational, sympy.logic.boolalg.BooleanFunction),
            "matrix": (sympy.MatrixBase,),
            "tuple": (sympy.Tuple,),
            "interval": (sympy.Interval, sympy.Union),
            "set": (sympy.Set,),
        }
        kind = next((name for name, types in kinds.items() if isinstance(read[0], types)), "expression")
        symbols = " ".join(sorted(map(str, getattr(read[0], "free_symbols", ()))))
        return {"text": text, "reading": str(read[0])[:SHOWN], "kind": kind, "symbols": symbols[:SHOWN]}


if __name__ == "__main__":
    driver = Driver()
    sys.exit(serve(driver.warm, driver.answer, memory_mb=int(sys.argv[1])))
