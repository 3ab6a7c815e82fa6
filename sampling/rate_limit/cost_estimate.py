"""What a request will cost, before it is asked: the prompt as the task's last one was counted, else four characters
a token, and the mean answer so far, else the most that was asked for.

>>> costs = Costs()
>>> costs.estimate("t", characters=400, max_tokens=50)
150.0
>>> costs.note("t", prompt_tokens=90, completion_tokens=20)
>>> costs.estimate("t", characters=400, max_tokens=50)
110.0
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

from stillroom.common.records import Completion, Request

# Of English text, roughly; other languages need more, which the first answer of a task tells.
CHARACTERS_PER_TOKEN = 4.0
# Tasks whose prompts are remembered: many more than are open at once, yet a run of a million stays small.
REMEMBERED = 4096


class Cost(NamedTuple):
    """Tokens of a prompt and of its answer."""

    prompt: int
    completion: int


def cost_of(request: Request, answer: Completion, *, uncounted: bool) -> Cost:
    """What an answer cost, as it was counted; where nobody counted all of it, by its characters, and never less than
    was counted."""
    if not uncounted:
        return Cost(answer.prompt_tokens, answer.completion_tokens)
    asked = _tokens(sum(len(message.content) for message in request.messages))
    said = _tokens(len(answer.text) + len(answer.reasoning or ""))
    limited = min(said, request.sampling.max_tokens)
    return Cost(answer.prompt_tokens or asked, max(answer.completion_tokens, limited))


def _tokens(characters: int) -> int:
    return math.ceil(characters / CHARACTERS_PER_TOKEN)


class Costs:
    """Remembers what was counted."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[str, int] = OrderedDict()
        self._answers = self._completion_tokens = 0

    def estimate(self, task_id: str, characters: int, max_tokens: int) -> float:
        """Tokens of the prompt and the answer together."""
        prompt = self._prompts.get(task_id, characters / CHARACTERS_PER_TOKEN)
        mean = self._completion_tokens / self._answers if self._answers else max_tokens
        return prompt + min(mean, max_tokens)

    def prompt_tokens(self, task_id: str) -> int | None:
        """What the task's prompt was counted as, None before the first answer."""
        return self._prompts.get(task_id)

    def note(self, task_id: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Learns from an answer; a server that counts nothing teaches nothing."""
        if prompt_tokens:
            self._prompts[task_id] = prompt_tokens
            self._prompts.move_to_end(task_id)
            if len(self._prompts) > REMEMBERED:
                self._prompts.popitem(last=False)
        if completion_tokens:
            self._answers += 1
            self._completion_tokens += completion_tokens
