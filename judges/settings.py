"""The settings of judges under one roof; each kind's stand in the module of the judge.

>>> StyleJudgeSettings(kind="style").kind
'style'
"""

from __future__ import annotations

from stillroom.judges.jury import JuryMember, JurySettings
from stillroom.judges.llm import LlmJudgeSettings
from stillroom.judges.readability import ReadabilityJudgeSettings
from stillroom.judges.recorded import RecordedJudgeSettings
from stillroom.judges.reference import ReferenceJudgeSettings
from stillroom.judges.registry import JudgeSettings
from stillroom.judges.scripted import ScriptedJudgeSettings
from stillroom.judges.style import StyleJudgeSettings

__all__ = [
    "JudgeSettings",
    "JuryMember",
    "JurySettings",
    "LlmJudgeSettings",
    "ReadabilityJudgeSettings",
    "RecordedJudgeSettings",
    "ReferenceJudgeSettings",
    "ScriptedJudgeSettings",
    "StyleJudgeSettings",
]
