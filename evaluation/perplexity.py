"""Perplexity on held-out text: what training has done to a model's language, beside what it was trained for.

    found = perplexity("embedded:smollm2-135m-instruct", ["The cat sat on the mat.", …], seed=7)
    found.perplexity, found.bits_per_byte           # each with an interval over texts
    found.results("student_before")                 # as rows of eval.json

Perplexity weighs every token the same: exp of the mean negative log-likelihood over all tokens of all texts. It says
nothing across tokenizers; bits per byte does (Gao et al. 2020, arXiv:2101.00027, section 3.1). A text is read in
windows that overlap by half, so that a token of a long text has at least half a window before it; the first token,
which has nothing before it, is not counted. Texts of fewer than two tokens are left out, and counted. Refuses a model
that gives no numbers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from math import exp, isfinite, log
from typing import Any, NamedTuple, TypeVar

from stillroom.common.models.resolve import load_model, load_tokenizer, pick_device
from stillroom.common.stats.bootstrap import ratio_over_tasks
from stillroom.common.stats.intervals import Interval
from stillroom.errors import InputError, TrainingError
from stillroom.evaluation.results import Result

K = TypeVar("K", bound=Hashable)

MOST_NATS = 700.0
"""A token's mean surprise is taken as at most this: exp of more is no float."""
WINDOW = 1024
"""Tokens that the model sees at once, at most; less where its context is shorter."""


class TextLoss(NamedTuple):
    """One text: the sum of negative log-likelihoods in nats, and over how many tokens and bytes of UTF-8. Of a text
    that is too short to predict any token: 0 tokens."""

    nats: float
    tokens: int
    bytes: int


class Perplexity(NamedTuple):
    """n counts texts. `tokens`: all that were predicted. `left_out`: texts of fewer than two tokens."""

    perplexity: Interval
    bits_per_byte: Interval
    tokens: int
    left_out: int

    def results(self, who: str) -> list[Result]:
        """As rows of `eval.json`."""
        more = {"tokens": self.tokens, "left_out": self.left_out}
        rows = (("perplexity", self.perplexity), ("bits_per_byte", self.bits_per_byte))
        return [
            Result.model_validate({"who": who, "metric": metric, **found._asdict(), **more}) for metric, found in rows
        ]


def perplexity(
    model_name: str, texts: Sequence[str], *, seed: int, window: int = WINDOW, dtype: str = "auto"
) -> Perplexity:
    """Of a model by its name (`load_model`) on texts as they are, without a chat template.

    Raises InputError where no text has two tokens or the window is below 2, TrainingError for a model that gives no
    numbers, and what `load_model` does.
    """
    found = [loss for _, loss in _losses(model_name, dict(enumerate(texts)), window, dtype)]
    if broken := sum(not isfinite(loss.nats) for loss in found):
        raise TrainingError(f"{model_name} gives likelihoods that are no numbers, for {broken} of {len(texts)} texts")
    losses = [loss for loss in found if loss.tokens]
    return of_losses(losses, left_out=len(texts) - len(losses), seed=seed)


def text_losses(
    model_name: str, texts: Mapping[K, str], *, window: int = WINDOW, dtype: str = "auto"
) -> Iterator[tuple[K, TextLoss]]:
    """The loss of each text as soon as it is read, in the order given; of one of fewer than two tokens, with 0
    tokens. The model is loaded when the first is asked for.

    Raises as `perplexity` does, at the first text without a number.
    """
    for name, loss in _losses(model_name, texts, window, dtype):
        if not isfinite(loss.nats):
            raise TrainingError(f"{model_name} gives likelihoods that are no numbers, for the text {name!r}")
        yield name, loss


def _losses(model_name: str, texts: Mapping[K, str], window: int, dtype: str) -> Iterator[tuple[K, TextLoss]]:
    if window < 2:
        raise InputError(f"window is {window} tokens: one is predicted from another, so give 2 or more")
    if not texts:
        return
    device = pick_device()
    model, tokenizer = load_model(model_name, dtype, device), load_tokenizer(model_name)
    seen = min(window, getattr(model.config, "max_position_embeddings", None) or window)
    for name, text in texts.items():
        ids = tokenizer(text, return_tensors="pt").input_ids.to(device)  # (1, T)
        yield name, _text_loss(model, tokenizer, ids, text, seen)


def exp_of(nats: float) -> float:
    """exp, of at most `MOST_NATS`: that of a model that fell apart is no float."""
    return exp(min(nats, MOST_NATS))


def of_losses(losses: Sequence[TextLoss], *, left_out: int = 0, seed: int) -> Perplexity:
    """From the losses of texts, in whatever order. Raises InputError if there is none."""
    if not losses:
        raise InputError(f"none of {left_out} texts has two tokens: perplexity needs longer ones")
    ordered = dict(zip(map(str, range(len(losses))), sorted(losses), strict=True))
    per_token = ratio_over_tasks({i: (loss.nats, loss.tokens) for i, loss in ordered.items()}, seed=seed)
    per_byte = ratio_over_tasks({i: (loss.nats / log(2), loss.bytes) for i, loss in ordered.items()}, seed=seed)
    assert per_token is not None
    assert per_byte is not None
    surprise = Interval(exp_of(per_token.value), exp_of(per_token.low), exp_of(per_token.high), per_token.n)
    return Perplexity(surprise, per_byte, sum(loss.tokens for loss in losses), left_out)


def _text_loss(model: Any, tokenizer: Any, ids: Any, text: str, window: int) -> TextLoss:
    """`ids`: (1, T)."""
    import torch

    if ids.shape[1] < 2:
        return TextLoss(0.0, 0, len(text.encode("utf-8", "replace")))
    with torch.inference_mode():
        nats = sum(_window_loss(model, ids[:, start:end], new) for start, end, new in windows(ids.shape[1], window))
    first = tokenizer.decode(ids[0, :1], skip_special_tokens=True)
    size = max(1, len(text.encode("utf-8", "replace")) - len(first.encode()))
    return TextLoss(nats, ids.shape[1] - 1, size)


def windows(length: int, window: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, new): the last `new` tokens of each window are predicted there, every token but the first once.

    >>> list(windows(10, 4))
    [(0, 4, 3), (2, 6, 2), (4, 8, 2), (6, 10, 2)]
    """
    done, start = 1, 0
    while done < length:
        end = min(start + window, length)
        yield start, end, end - done
        done, start = end, start + window // 2


def _window_loss(model: Any, ids: Any, new: int) -> float:
    """Nats of the last `new` of (1, T) ids."""
    import torch

    logits = model(input_ids=ids, use_cache=False).logits[0, -new - 1 : -1].float()  # (new, V)
    return float(torch.nn.functional.cross_entropy(logits, ids[0, -new:], reduction="sum"))
