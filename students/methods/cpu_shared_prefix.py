"""One pass over a batch whose rows begin alike: the common beginning is computed once, and no padding at all.

Prompts of one recipe share their system prompt and often their wording. On a CPU, where every token costs, a batch
of B rows that share P tokens is laid out as one sequence of P + Σ (length − P) tokens:

    row 0:  S S S a a .        S S S a a b b b
    row 1:  S S S b b b   ->   a token sees S and the earlier ones of its own row; positions count within the row

Logits, loss and gradients are those of the padded batch: attention sees the same tokens at the same positions, and
the gradients of the shared part add up. The head is applied to the answers' positions only.

It holds for models whose layers all attend to the whole sequence through torch's scaled dot product attention and
whose logits are the head's output as it is: `can_flatten` says which. Others take the trainer's own way.
"""

from __future__ import annotations

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
    """The batch (B, T) as one sequence, or None where that would be too long to pay."""
    import torch

    shared = _shared(input_ids, labels, attention_mask)
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


def _shared(input_ids: Any, labels: Any, attention_mask: Any) -> int:
    """How many first tokens all rows have in common, short of the token that predicts a label."""
    alike = (input_ids == input_ids[:1]).all(0) & attention_mask.bool().all(0) & (labels == IGNORED).all(0)
    length = int(alike.long().cumprod(0).sum())
    # The last token before an answer predicts its first: each row needs its own copy of it.
    first_label = int((labels != IGNORED).long().argmax(1).min())
    return max(0, min(length, first_label - 1))


def answer_loss(model: Any, batch: Flat) -> Any:
    """Summed negative log-likelihood of the labels: a scalar tensor. `model`: the causal language model itself."""
    import torch

    hidden = model.base_model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=batch.attention_mask,
        use_cache=False,
    ).last_hidden_state[0]  # (N, H)
    where = (batch.labels != IGNORED).nonzero()[:, 0]  # (L,): a label is predicted from the token before it
    logits = model.get_output_embeddings()(hidden[where - 1])  # (L, V)
    return torch.nn.functional.cross_entropy(logits.float(), batch.labels[where], reduction="sum")
