"""Draws the next token of every row of a batch in one go, each row with its own settings and its own random number.

A draw is the inverse of the cumulative distribution at one uniform number, so that it depends on the row's own seed
and never on who shares its batch (as far as the logits do not: batched floating point rounds differently).

Log-probabilities are those of the model itself, before temperature and cuts, as servers report them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from stillroom.common.records import SamplingParams

if TYPE_CHECKING:
    import torch

BLOCK = 256  # tokens summed at a time
CANDIDATES = 1024  # most likely tokens looked at before all are sorted for a top_p


class Likely(NamedTuple):
    """A token that was likely at its place, and its log-probability."""

    token: int
    logprob: float


class Drawn(NamedTuple):
    """A token per row; its log-probability where any row asked for them, else None. `tops`: the most likely tokens of
    the rows that asked for them, by row."""

    tokens: list[int]
    logprobs: list[float] | None
    tops: dict[int, list[Likely]]


def draw(logits: torch.Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float]) -> Drawn:
    """Draws from `logits` (R, V), with a number in [0, 1) per row."""
    import torch

    logits = logits.float()
    greedy = [row for row, param in enumerate(params) if param.temperature == 0]
    whole = [row for row, param in enumerate(params) if param.temperature > 0 and not _cut(param)]
    cut = [row for row, param in enumerate(params) if param.temperature > 0 and _cut(param)]
    norms = logits.logsumexp(-1) if any(param.logprobs or param.top_logprobs for param in params) else None
    tokens = torch.empty(len(params), dtype=torch.long, device=logits.device)
    if greedy:
        tokens[greedy] = logits[greedy].argmax(-1)
    for rows, pick in ((whole, _whole), (cut, _cut_draw)):
        if rows:
            tokens[rows] = pick(logits[rows], [params[row] for row in rows], [uniforms[row] for row in rows])
    if norms is None:
        return Drawn(tokens.tolist(), None, {})
    logprobs = (logits.gather(1, tokens[:, None])[:, 0] - norms).tolist()

    # The most likely tokens of the rows that asked for them.
    rows = [row for row, param in enumerate(params) if param.top_logprobs]
    if not rows:
        return Drawn(tokens.tolist(), logprobs, {})
    most = min(max(params[row].top_logprobs for row in rows), logits.shape[1])
    found = logits[rows].topk(most, dim=-1)
    likely_logprobs, likely = (found.values - norms[rows][:, None]).tolist(), found.indices.tolist()
    tops: dict[int, list[Likely]] = {}
    for at, row in enumerate(rows):
        pairs = zip(likely[at], likely_logprobs[at], strict=True)
        tops[row] = [Likely(*pair) for pair in pairs][: params[row].top_logprobs]
    return Drawn(tokens.tolist(), logprobs, tops)


def _cut(param: SamplingParams) -> bool:
    return param.top_p < 1 or param.top_k is not None or bool(param.min_p)


def _weights(logits: torch.Tensor, params: Sequence[SamplingParams]) -> torch.Tensor:
    """Unnormalised probabilities at each row's temperature, the most likely token's being 1. Overwrites `logits`:
    on a CPU a new tensor of this size costs as much as the arithmetic."""
    colder = logits.new_tensor([1 / param.temperature for param in params])[:, None]
    return logits.sub_(logits.amax(-1, keepdim=True)).mul_(colder).exp_()


def _whole(logits: torch.Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float]) -> torch.Tensor:
    """From all tokens: first the block, then the token in it, which reads the vocabulary once less than a cumsum."""
    import torch

    weights = _weights(logits, params)
    if rest := weights.shape[1] % BLOCK:
        weights = torch.nn.functional.pad(weights, (0, BLOCK - rest))
    blocks = weights.view(len(params), -1, BLOCK)
    block, left = _invert(blocks.sum(-1), logits.new_tensor(uniforms))
    rows = torch.arange(len(params), device=logits.device)
    inside = blocks[rows, block]
    token, _ = _invert(inside, left / inside.sum(-1))
    return block * BLOCK + token


def _cut_draw(logits: torch.Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float]) -> torch.Tensor:
    """From the tokens that top_k, top_p and min_p leave, most likely first."""
    weights = _weights(logits, params)
    # Largest first: only the first CANDIDATES where these hold all that the cuts can leave.
    first = weights.topk(min(CANDIDATES, weights.shape[1]), dim=-1)
    covered = first.values.sum(-1) / weights.sum(-1)
    enough = all(
        (param.top_k is not None and param.top_k <= CANDIDATES)
        or (param.top_p < 1 and share > param.top_p)
        or (param.min_p and last < param.min_p)
        for param, share, last in zip(params, covered.tolist(), first.values[:, -1].tolist(), strict=True)
    )
    kept, order = first if enough else weights.sort(dim=-1, descending=True)
    rank = kept.new_tensor(range(kept.shape[1]))
    top_k = kept.new_tensor([param.top_k or kept.shape[1] for param in params])[:, None]
    kept = kept * (rank < top_k)
    # min_p counts from the most likely token, whose weight is 1. top_p keeps a token if those before it do not
    # reach p yet: of what top_k left, as transformers and vLLM have it.
    top_p = kept.new_tensor([param.top_p for param in params])[:, None]
    limited = kept.new_tensor([param.top_k is not None for param in params])[:, None] > 0
    total = kept.sum(-1, keepdim=True).where(limited, weights.sum(-1, keepdim=True))
    before = kept.cumsum(-1) - kept
    least = kept.new_tensor([param.min_p or 0.0 for param in params])[:, None]
    kept = kept * ((before < top_p * total) | (rank == 0)) * (kept >= least)
    token, _ = _invert(kept, kept.new_tensor(uniforms))
    return order.gather(1, token[:, None])[:, 0]


def _invert(weights: torch.Tensor, uniforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first column where the running sum passes uniform × total, and what is left of it in that column."""
    import torch

    sums = weights.double().cumsum(-1)
    goal = uniforms.double()[:, None].clamp(0, 1) * sums[:, -1:]
    column = torch.searchsorted(sums, goal, right=True).clamp_max(weights.shape[1] - 1)
    # Not beyond the last column with any weight: rounding at the end cannot draw an impossible token.
    column = torch.minimum(column, weights.shape[1] - 1 - (weights > 0).flip(-1).long().argmax(-1, keepdim=True))
    left = goal - (sums.gather(1, column) - weights.double().gather(1, column))
    return column[:, 0], left[:, 0].clamp_min(0).to(weights.dtype)
