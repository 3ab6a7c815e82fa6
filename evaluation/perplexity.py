"""Perplexity on held-out text: what training has done to a model's language.

    found = perplexity("embedded:smollm2-135m-instruct", ["The cat sat on the mat.", …], seed=7)
    found.perplexity, found.bits_per_byte           # each with an interval over texts
    read_texts(Path("letters.jsonl"), field="text", limit=200)["letters.jsonl:1"]

Perplexity is exp of the mean negative log-likelihood over all tokens of all texts. It cannot be compared across
tokenizers; bits per byte can (Gao et al. 2020, arXiv:2101.00027, section 3.1). A text is read in windows that overlap
by half, so that a token of a long text has at least half a window before it; the first token is not counted. Texts of
fewer than two tokens are left out, and counted. Refuses a model that gives no numbers.

`everyday_texts` come with Stillroom: small talk, letters, instructions, news, a little code. They are not a
benchmark: perplexities on them can be compared with each other only.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from importlib.resources import files
from math import exp, isfinite, log
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from stillroom.common.files import storable
from stillroom.common.models.resolve import load_model, load_tokenizer, pick_device
from stillroom.common.stats.bootstrap import ratio_over_tasks
from stillroom.common.stats.intervals import Interval
from stillroom.errors import InputError, MissingFile, TrainingError
from stillroom.evaluation.results import Result, result_of

FILE = "everyday.jsonl"
K = TypeVar("K", bound=Hashable)

MOST_NATS = 700.0
"""The mean nats of a token are capped here: exp of more overflows a float."""
WINDOW = 1024
"""Tokens that the model sees at once, at most; less where its context is shorter."""


def everyday_texts() -> dict[str, str]:
    """The texts that come with Stillroom, by name."""
    lines = files("stillroom.evaluation").joinpath(FILE).read_text(encoding="utf-8").splitlines()
    return {row["id"]: row["text"] for row in map(json.loads, lines)}


def read_texts(path: Path, field: str = "text", limit: int | None = None) -> dict[str, str]:
    """The texts under `field` of a JSON Lines file, by file name and line. `limit`: the most to read.

    Raises MissingFile, or InputError for a line without the text, or a file without a line.
    """
    texts: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                texts[f"{path.name}:{number}"] = storable(_text(line, field, f"{path}:{number}"))
                if len(texts) == limit:
                    break
    except OSError as error:
        raise MissingFile(f"the texts {path} cannot be read ({error.strerror}): correct texts.path") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start:,}): convert it") from None
    if not texts:
        raise InputError(f"{path} holds no text: give JSON Lines with {field!r}, or texts: everyday")
    return texts


def _text(line: str, field: str, where: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error}): give one object a line") from None
    if not isinstance(row, dict):
        raise InputError(f'{where} is a {type(row).__name__}: give an object such as {{"text": "…"}}')
    text = row.get(field)
    if isinstance(text, str) and text.strip():
        return text
    if text is None:
        names = ", ".join(repr(str(key)[:30]) for key in list(row)[:8]) or "nothing"
        raise InputError(f"{where} has no {field!r} (it has {names}): name the field of the text in texts.field")
    what = "empty" if isinstance(text, str) else "no text"
    raise InputError(f"{where}: {field!r} is {what}: correct or remove the line")


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
        return [result_of(who, metric, found, **more) for metric, found in rows]


def perplexity(
    model_name: str, texts: Sequence[str], *, seed: int, window: int = WINDOW, dtype: str = "auto"
) -> Perplexity:
    """Of a model by its name (`load_model`) on texts as they are, without a chat template.

    Raises InputError where no text has two tokens or the window is below 2, TrainingError for a model that gives no
    numbers, and what `load_model` does.
    """
    found = [loss for _, loss in _losses(model_name, dict(enumerate(texts)), window, dtype)]
    if broken := sum(not isfinite(loss.nats) for loss in found):
        of = f"{broken} of {len(texts)} texts"
        raise TrainingError(f"{model_name} gives likelihoods that are not numbers, for {of}")
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
            raise TrainingError(f"{model_name} gives likelihoods that are not numbers, for the text {name!r}")
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
    """exp of at most `MOST_NATS`: that of a model that fell apart overflows."""
    return exp(min(nats, MOST_NATS))


def exp_of_all(found: Interval) -> Interval:
    """`exp_of` of a value and its limits."""
    return Interval(exp_of(found.value), exp_of(found.low), exp_of(found.high), found.n)


def of_losses(losses: Sequence[TextLoss], *, left_out: int = 0, seed: int) -> Perplexity:
    """From the losses of texts, in whatever order. Raises InputError if there is none."""
    if not losses:
        raise InputError(f"none of {left_out} texts has two tokens: perplexity needs longer ones")
    ordered = dict(zip(map(str, range(len(losses))), sorted(losses), strict=True))
    per_token = ratio_over_tasks({i: (loss.nats, loss.tokens) for i, loss in ordered.items()}, seed=seed)
    per_byte = ratio_over_tasks({i: (loss.nats / log(2), loss.bytes) for i, loss in ordered.items()}, seed=seed)
    assert per_token is not None
    assert per_byte is not None
    return Perplexity(exp_of_all(per_token), per_byte, sum(loss.tokens for loss in losses), left_out)


def _text_loss(model: Any, tokenizer: Any, ids: Any, text: str, window: int) -> TextLoss:
    """`ids`: (1, T)."""
    import torch

    if ids.shape[1] < 2:
        return TextLoss(0.0, 0, len(text.encode("utf-8", "replace")))
    nats = 0.0
    with torch.inference_mode():
        for start, end, new in windows(ids.shape[1], window):
            logits = model(input_ids=ids[:, start:end], use_cache=False).logits[0, -new - 1 : -1].float()  # (new, V)
            nats += float(torch.nn.functional.cross_entropy(logits, ids[0, end - new : end], reduction="sum"))
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
