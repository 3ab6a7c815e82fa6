"""Logits at the positions of an answer, for a part of them at a time.

    head = Head(model, len(tokenizer), "the student")
    hidden, labels = answer_states(model, ids, labels, mask, flat=True)      # (N, H), (N,)
    head.logits(hidden[:256])                                              # (256, V)

The backbone runs once over the whole batch and the head over parts of the answers' positions, so that no tensor of
all positions by the vocabulary is kept. Rows of the head beyond the tokenizer's size are padding and are cut off.
What a family does to its logits behind the head is in `_after`; a model for which this gives other logits than its
own forward pass is refused.
"""

from __future__ import annotations

import math
from typing import Any

from stillroom.errors import RecipeError
from stillroom.students.data.encode import IGNORED
from stillroom.students.methods.cpu_passes import AnswerStates, flat_states, flatten

CLOSE = 1e-3
"""Greatest difference of two logits, as a share of the largest, that rounding explains in float32."""


def answer_states(model: Any, input_ids: Any, labels: Any, attention_mask: Any, *, flat: bool) -> AnswerStates:
    """Of a padded batch (B, T), at each position that predicts a label. `model`: the causal language model itself;
    `flat`: it computes the same on a flat batch (`cpu_passes.can_flatten`)."""
    batch = flatten(input_ids, labels, attention_mask) if flat else None
    if batch is not None:
        return flat_states(model, batch)
    found = model.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    row, column = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    return AnswerStates(found[row, column], labels[row, column + 1])


class Head:
    """The output layer of a causal language model, over `vocabulary` tokens.

    Raises RecipeError for a model that has fewer rows, or whose logits this does not reproduce. `who`: for messages.
    """

    def __init__(self, model: Any, vocabulary: int, who: str) -> None:
        self._layer, self._config, self.vocabulary = model.get_output_embeddings(), model.config, vocabulary
        rows = self._layer.weight.shape[0]
        if rows < vocabulary:
            raise RecipeError(
                f"{who} has {rows:,} rows in its output layer, its tokenizer {vocabulary:,} tokens: its weights and "
                "its tokenizer do not belong together"
            )
        self._prove(model, who)

    @property
    def parameters(self) -> list[Any]:
        """The layer's weights, and its bias where it has one."""
        return list(self._layer.parameters())

    @property
    def device(self) -> Any:
        """Where the layer is."""
        return self._layer.weight.device

    def logits(self, hidden: Any) -> Any:
        """(N, V) of hidden states (N, H)."""
        return _after(self._layer(hidden)[..., : self.vocabulary], self._config)

    def _prove(self, model: Any, who: str) -> None:
        import torch

        ids = torch.arange(min(8, self.vocabulary), device=self._layer.weight.device)[None]
        was = model.training
        model.eval()
        with torch.no_grad():
            theirs = model(input_ids=ids, use_cache=False).logits[..., : self.vocabulary].float()
            ours = self.logits(model.base_model(input_ids=ids, use_cache=False).last_hidden_state).float()
        model.train(was)
        gap = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6))
        if not math.isfinite(gap):
            raise RecipeError(f"{who} gives logits that are not numbers: its weights are damaged, or it has diverged")
        # Half precision rounds both in the same way, as they take the same steps; a scale or a cap would show.
        if not gap <= CLOSE:
            raise RecipeError(
                f"{who} ({model.config.model_type}) changes its logits behind its output layer in a way that is not "
                f"known here: they differ by {gap:.1%}. Take `method: sft`, or report the model"
            )


def _after(logits: Any, config: Any) -> Any:
    """What families do behind the head: Cohere and Falcon-H1 multiply, Granite divides, Gemma caps."""
    import torch

    for name in ("logit_scale", "lm_head_multiplier"):
        if (scale := getattr(config, name, None)) is not None:
            logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits
