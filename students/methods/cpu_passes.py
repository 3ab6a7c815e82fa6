"""Forward passes for the CPU, where every token costs: what rows have in common is computed once, without padding.

SFT: a batch of B rows that share their first P tokens becomes one sequence of P + Σ (length − P) tokens:

    row 0:  S S S a a .        S S S a a b b b
    row 1:  S S S b b b   ->   a token sees S and the earlier ones of the same row; positions count within the row

DPO: trl lays B pairs out as 2 B padded rows, each with its prompt; here a pair becomes one row:

    P P P c c c .
    P P P r r . .        ->   P P P c c c r r        a token of the rejected answer sees P and its own answer only,
                                                     and its position counts on from P

KTO: rows stay padded, since each stands under its own prompt; only its answers reach the head.

Logits, loss and gradients are those of the padded batch, up to rounding; the head is applied to the answers only.
This holds for models whose layers all attend to the whole sequence through torch's scaled dot product attention and
whose logits are the head's output as it is (`can_flatten`). Others take the trainer's own way.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, NamedTuple

from stillroom.students.data.encode import IGNORED

# Read one by one: full attention, no scaling or capping of the logits. Others may fit too; none is guessed.
FAMILIES = frozenset({"llama", "qwen2", "qwen3"})

# The mask is N × N, and attention over one row of N dearer than over B short ones: beyond this, padding is cheaper.
MOST_TOKENS = 2048


class Flat(NamedTuple):
    """A batch as one sequence of N tokens. `input_ids`, `position_ids`: (1, N); `attention_mask`: (1, 1, N, N),
    true where the row's token sees the column's; `labels`: (N,)."""

    input_ids: Any
    position_ids: Any
    attention_mask: Any
    labels: Any


def can_flatten(config: Any) -> bool:
    """Whether the model of this configuration computes the same on a flat batch."""
    full = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
    sliding = bool(getattr(config, "use_sliding_window", False))
    return config.model_type in FAMILIES and config._attn_implementation == "sdpa" and full and not sliding


def flatten(input_ids: Any, labels: Any, attention_mask: Any) -> Flat | None:
    """The batch (B, T) as one sequence, or None if that would be too long to pay."""
    import torch

    # How many first tokens all rows have in common, short of the token that predicts a label: the last token before
    # an answer predicts its first, so each row needs its own copy of it.
    alike = (input_ids == input_ids[:1]).all(0) & attention_mask.bool().all(0) & (labels == IGNORED).all(0)
    first_label = int((labels != IGNORED).long().argmax(1).min())
    shared = max(0, min(int(alike.long().cumprod(0).sum()), first_label - 1))
    own = attention_mask.bool().clone()  # (B, T): tokens that stand in their row alone, and one copy of the shared
    own[1:, :shared] = False
    total = int(own.sum())
    if total > MOST_TOKENS:
        return None
    row, column = own.nonzero(as_tuple=True)  # (N,) each, row by row
    owner = torch.where(column < shared, -1, row)
    order = torch.arange(total, device=input_ids.device)
    sees = (owner[None, :] == -1) | (owner[None, :] == owner[:, None])
    sees &= order[None, :] <= order[:, None]
    return Flat(input_ids[own][None], column[None], sees[None, None], labels[own])


class AnswerStates(NamedTuple):
    """The L labels of a batch. `hidden`: (L, H), what the head sees to predict each; `labels`: (L,)."""

    hidden: Any
    labels: Any


def flat_states(model: Any, batch: Flat) -> AnswerStates:
    """What the labels are predicted from. `model`: the causal language model itself."""
    hidden = model.base_model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=batch.attention_mask,
        use_cache=False,
    ).last_hidden_state[0]  # (N, H)
    where = (batch.labels != IGNORED).nonzero()[:, 0]  # (L,): a label is predicted from the token before it
    return AnswerStates(hidden[where - 1], batch.labels[where])


def answer_loss(model: Any, batch: Flat) -> Any:
    """Summed negative log-likelihood of the labels: a scalar tensor. `model`: the causal language model itself."""
    import torch

    states = flat_states(model, batch)
    logits = model.get_output_embeddings()(states.hidden)  # (L, V)
    return torch.nn.functional.cross_entropy(_single(logits), states.labels, reduction="sum")


def _single(logits: Any) -> Any:
    """In float32, or in float64 where they come in it."""
    import torch

    return logits if logits.dtype == torch.float64 else logits.float()


# Logits (places × vocabulary) held at once: 2^26 take about 0.7 GB with what the backward pass keeps.
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
    # Each label is predicted at the token before it: the first of either answer at the prompt's last.
    row, column = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    pair = row % pairs
    behind = (row >= pairs) & (column >= prompt[pair])
    return laid, Labelled(row, column, pair, column + behind * chosen[pair], labels[row, column + 1])


def pair_logprobs(model: Any, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
    """Log-probability of each label, (2 B, T - 1), 0 where there is none. `model`: the causal model itself."""
    laid, wanted = lay_out(input_ids, attention_mask, labels)
    hidden = model.base_model(**laid._asdict(), use_cache=False).last_hidden_state  # (B, T, H)
    found = scored(model, hidden[wanted.pair, wanted.place], wanted.token)
    return found.new_zeros(labels.shape[0], labels.shape[1] - 1).index_put((wanted.row, wanted.column), found)


def row_logprobs(model: Any, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
    """Log-probability of each label, (B, T - 1), 0 where there is none: the head is applied to the answers alone.
    `model`: the causal model itself."""
    states = model.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    row, column = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)  # (L,) each
    found = scored(model, states.last_hidden_state[row, column], labels[row, column + 1])
    return found.new_zeros(labels.shape[0], labels.shape[1] - 1).index_put((row, column), found)


def scored(model: Any, hidden: Any, tokens: Any) -> Any:
    """Log-probability of L tokens, (L,). `hidden`: what each is predicted from, (L, H)."""
    import torch
    from torch.utils.checkpoint import checkpoint

    head = model.get_output_embeddings()

    def score(part: Any, tokens: Any) -> Any:
        return -torch.nn.functional.cross_entropy(_single(head(part)), tokens, reduction="none")

    # In parts that are computed again for the backward pass if L is large.
    size = max(1, MOST_LOGITS // head.weight.shape[0])
    if len(tokens) <= size:
        return score(hidden, tokens)
    parts = zip(hidden.split(size), tokens.split(size), strict=True)
    return torch.cat([checkpoint(score, part, tokens, use_reentrant=False) for part, tokens in parts])


def use_pair_pass(model: Any) -> None:
    """Puts the pass of pairs in the place of trl's own. `model`: the causal language model, as trl has patched it."""
    _use(model, pair_logprobs)


def use_row_pass(model: Any) -> None:
    """Puts the pass of rows in the place of trl's own. `model`: the causal language model, as trl has patched it."""
    _use(model, row_logprobs)


def _use(model: Any, score: Callable[[Any, Any, Any, Any], Any]) -> None:
    fused = model.forward

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return fused(*args, **kwargs)
        found = score(self, kwargs["input_ids"], kwargs["attention_mask"], kwargs["labels"])
        # trl only reports the others, and we do not read them there: to compute them costs as much as the loss.
        nothing = found.detach().new_zeros(found.shape)
        return types.SimpleNamespace(
            log_probs=found, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), aux_loss=None
        )

    model.forward = types.MethodType(forward, model)
