"""Answer checking: is this answer the gold answer?

>>> check("#### 18", "She makes 9 * 2 = 18 dollars.\\nA: $18.00").state
<State.ACCEPTED: 'accepted'>

Its tables and patterns take a tenth of a second to load, so each name brings in what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillroom.traces.answers.checker import AnswerChecker as AnswerChecker
    from stillroom.traces.answers.checker import check as check
    from stillroom.traces.answers.pairs_file import CheckSummary as CheckSummary
    from stillroom.traces.answers.pairs_file import check_file as check_file
    from stillroom.traces.answers.records import Policies as Policies
    from stillroom.traces.answers.records import Reason as Reason
    from stillroom.traces.answers.records import state_of as state_of

_MODULES = {
    "AnswerChecker": "checker",
    "CheckSummary": "pairs_file",
    "Policies": "records",
    "Reason": "records",
    "check": "checker",
    "check_file": "pairs_file",
    "state_of": "records",
}
__all__ = ["AnswerChecker", "CheckSummary", "Policies", "Reason", "check", "check_file", "state_of"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
