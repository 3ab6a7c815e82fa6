"""Answer checking: is this answer the gold answer?

>>> check("#### 18", "She makes 9 * 2 = 18 dollars.\\nA: $18.00").state
<State.ACCEPTED: 'accepted'>
"""

from stillroom.traces.answers.check_file import CheckSummary, check_file
from stillroom.traces.answers.checker import AnswerChecker, check
from stillroom.traces.answers.records import Policies, Reason, state_of

__all__ = [
    "AnswerChecker",
    "CheckSummary",
    "Policies",
    "Reason",
    "check",
    "check_file",
    "state_of",
]
