"""Between our records and vLLM's: sampling settings on the way in, an answer in pieces on the way out.

pieces = Pieces(top=params.top_logprobs)
async for output in engine.generate(prompt, sampling_params(params, ends, seed=None), "1"):
    pieces.add(output)
completion = pieces.completion(len(prompt), opened=False)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stillroom.common.marks import split_thinking
from stillroom.common.records import Completion, FinishReason, SamplingParams, TokenChoice

FINISHED: dict[str | None, FinishReason] = {"stop": "stop", "length": "length"}


def sampling_params(params: SamplingParams, ends: list[int], seed: int | None) -> Any:
    """vLLM's form of our sampling settings. Outputs come as they are made, so that a cancelled one is counted."""
    from vllm import SamplingParams as Theirs
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    schema = params.json_schema
    return Theirs(
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k or 0,
        min_p=params.min_p or 0.0,
        max_tokens=params.max_tokens,
        stop=list(params.stop),
        stop_token_ids=ends,
        logprobs=params.top_logprobs or (0 if params.logprobs else None),  # 0: of the chosen token alone
        structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
        seed=seed,
        output_kind=RequestOutputKind.DELTA,
    )


@dataclass(slots=True)
class Pieces:
    """An answer as it comes in. `top`: how many of the most likely tokens were asked for."""

    top: int = 0
    text: list[str] = field(default_factory=list)
    tokens: int = 0
    choices: list[TokenChoice] | None = None
    reason: str | None = None

    def add(self, output: Any) -> None:
        """Takes a vLLM RequestOutput of one sequence."""
        piece = output.outputs[0]
        self.text.append(piece.text)
        self.tokens += len(piece.token_ids)
        self.reason = piece.finish_reason
        if piece.logprobs is not None:
            pairs = zip(piece.token_ids, piece.logprobs, strict=True)
            self.choices = (self.choices or []) + [_choice(token, found, self.top) for token, found in pairs]

    def completion(self, prompt_tokens: int, *, opened: bool) -> Completion:
        """The whole answer, its thinking part apart. `opened`: the template had opened one in the prompt."""
        thinking = split_thinking("".join(self.text), opened=opened)
        return Completion(
            text=thinking.text,
            finish_reason=FINISHED.get(self.reason, "unknown"),
            prompt_tokens=prompt_tokens,
            completion_tokens=self.tokens,
            reasoning=thinking.reasoning,
            logprobs=None if self.choices is None else tuple(choice.logprob for choice in self.choices),
            choices=None if self.choices is None or not self.top else tuple(self.choices),
        )


def _choice(token: int, found: Mapping[int, Any], top: int) -> TokenChoice:
    """`found`: vLLM's Logprob by token id, of the most likely tokens and of the one that was drawn."""
    likely = sorted(found.values(), key=lambda one: -one.logprob)[:top]
    texts = tuple((one.decoded_token or "", float(one.logprob)) for one in likely)
    drawn = found[token]
    return TokenChoice(drawn.decoded_token or "" if top else "", float(drawn.logprob), texts)
