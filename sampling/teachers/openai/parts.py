"""The words of a message, however a server packs them: a text, a list of parts, an object; answer and thinking apart.

Mistral and Anthropic send `content` as a list of parts, of which some are thinking; OpenRouter sends
`reasoning_details`, others an object or a list under `reasoning`. Only texts are taken out, each once: what is not
words (an image, an encrypted thought, a number) is left out, and no object is ever turned into text.

>>> read_parts([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "4"}])
Parts(text='4', thinking='hm')
>>> words_of({"summary": [{"type": "reasoning.summary", "summary": "hm"}]})
'hm'
"""

from __future__ import annotations

from typing import Any, NamedTuple

REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "reasoning_details", "thinking_blocks")
"""Fields of a message that may hold its thinking; the first with words counts, since servers send the same twice."""
_HOLD_WORDS = ("text", "thinking", "reasoning", "content", "summary", "refusal", "reasoning_content", "output_text")
_THINK = ("thinking", "reasoning", "thought")
_DEEPEST = 8


class Parts(NamedTuple):
    """What a message says, and what was thought before."""

    text: str
    thinking: str


def words_of(value: Any, room: int = _DEEPEST) -> str:
    """All words in a text, a list of parts or an object; "" where there are none. `room`: levels that are left."""
    if isinstance(value, str):
        return value
    if not room:
        return ""
    if isinstance(value, list):
        return "".join(words_of(each, room - 1) for each in value)
    if isinstance(value, dict):
        return next((words for name in _HOLD_WORDS if (words := words_of(value.get(name), room - 1))), "")
    return ""


def read_parts(content: Any) -> Parts | None:
    """The answer and the thinking in a message's `content`; None where it holds something without any words."""
    if content is None or content == []:
        return Parts("", "")
    if isinstance(content, str):
        return Parts(content, "")
    text, thinking, held = list[str](), list[str](), False
    for part in content if isinstance(content, list) else [content]:
        (thinking if _is_thinking(part) else text).append(words_of(part))
        held = held or isinstance(part, str) or (isinstance(part, dict) and any(name in part for name in _HOLD_WORDS))
    return Parts("".join(text), "".join(thinking)) if held else None


def _is_thinking(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    return str(part.get("type", "")).lower().startswith(_THINK) or part.get("thought") is True
