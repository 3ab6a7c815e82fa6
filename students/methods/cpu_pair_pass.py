"""One pass over pairs that computes each prompt once, for the log-probabilities of both answers.

trl lays a batch of B pairs out as 2 B padded rows, each with its prompt, and scores every position. On a CPU, where
every token costs, a pair becomes one row here, and only the answers are scored:

    P P P c c c .
    P P P r r . .        ->   P P P c c c r r        a token of the rejected answer sees P and its own answer only,
                                                     and its position counts on from P

The log-probabilities are those of the padded batch, up to rounding, and come back in its layout, so whatever trl
makes of them (every loss, length desensitisation) stays as it is. Holds for the models that `shared_prefix` knows.
"""

from __future__ import annotations

import types
from typing import Any, NamedTuple

from stillroom.students.data.encode import IGNORED

# Logits of so many places × vocabulary are held at once: 2^26 take about 0.7 GB with what the backward pass keeps.
MOST_LOGITS = 1 << 26


class Laid(NamedTuple):
    """B pairs as B rows of T tokens. `input_ids`, `position_ids`: (B, T); `attention_mask`: (B, 1, T, T), true where
    the row's token sees the column's."""

    input_ids: Any
    position_ids: Any
    attention_mask: Any


class Labelled(NamedTuple):
    """The L tokens that are scored. `row`, `column`: where they are predicted in the padded batch; `pair`, `place`:
    the same in the laid out one; `token`: what is predicted. All (L,)."""

    row: Any
    column: Any
    pair: Any
    place: Any
    token: Any


def lay_out(input_ids: Any, attention_mask: Any, labels: Any) -> tuple[Laid, Labelled]:
    """The padded batch (2 B, T), chosen rows first, with each pair in one row. A pair's rows have the same prompt."""
    import torch

    pairs = input_ids.shape[0] // 2
    trained = labels != IGNORED
    prompt = trained.long().argmax(1)[:pairs]  # (B,): tokens of the prompt
    chosen, rejected = trained.sum(1).split(pairs)  # (B,) each: tokens of the answers
    width = int((prompt + chosen + rejected).max())
    ids = input_ids.new_zeros(pairs, width)
    real = attention_mask[:pairs].nonzero(as_tuple=True)
    ids[real] = input_ids[:pairs][real]
    row, column = trained[pairs:].nonzero(as_tuple=True)
    ids[row, column + chosen[row]] = input_ids[pairs:][row, column]
    place = torch.arange(width, device=ids.device)
    second = place[None] >= (prompt + chosen)[:, None]  # (B, T): tokens of the rejected answer, or padding behind it
    first = (place[None] >= prompt[:, None]) & ~second
    sees = (place[None, :] <= place[:, None])[None] & ~(second[:, :, None] & first[:, None, :])
    laid = Laid(ids, place[None] - second * chosen[:, None], sees[:, None])
    return laid, _labelled(labels, prompt, chosen)


def _labelled(labels: Any, prompt: Any, chosen: Any) -> Labelled:
    """Each label is predicted at the token before it: the first of either answer at the prompt's last."""
    row, column = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    pair = row % len(prompt)
    behind = (row >= len(prompt)) & (column >= prompt[pair])
    return Labelled(row, column, pair, column + behind * chosen[pair], labels[row, column + 1])


def pair_logprobs(model: Any, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
    """Log-probability of each label, (2 B, T - 1), 0 where there is none. `model`: the causal model itself."""
    laid, wanted = lay_out(input_ids, attention_mask, labels)
    hidden = model.base_model(**laid._asdict(), use_cache=False).last_hidden_state  # (B, T, H)
    found = _score(model.get_output_embeddings(), hidden[wanted.pair, wanted.place], wanted.token)
    return found.new_zeros(labels.shape[0], labels.shape[1] - 1).index_put((wanted.row, wanted.column), found)


def _score(head: Any, hidden: Any, tokens: Any) -> Any:
    """Log-probabilities (L,) of the tokens; in parts that are computed again for the backward pass if L is large."""
    import torch
    from torch.utils.checkpoint import checkpoint

    def score(part: Any, wanted: Any) -> Any:
        return -torch.nn.functional.cross_entropy(head(part).float(), wanted, reduction="none")

    size = max(1, MOST_LOGITS // head.weight.shape[0])
    if len(tokens) <= size:
        return score(hidden, tokens)
    parts = zip(hidden.split(size), tokens.split(size), strict=True)
    return torch.cat([checkpoint(score, part, wanted, use_reentrant=False) for part, wanted in parts])


def use_pair_pass(model: Any) -> None:
    """Puts the pass in the place of trl's own. `model`: the causal language model, as trl has patched it."""
    fused = model.forward

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return fused(*args, **kwargs)
        found = pair_logprobs(self, kwargs["input_ids"], kwargs["attention_mask"], kwargs["labels"])
        # trl only reports the others, and we do not read them there: to compute them costs as much as the loss.
        nothing = found.detach().new_zeros(found.shape)
        return types.SimpleNamespace(
            log_probs=found, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), aux_loss=None
        )

    model.forward = types.MethodType(forward, model)
