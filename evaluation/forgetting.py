"""What a student forgot: its answers to tasks it was not trained on, and its perplexity on held-out text.

    losses = dict(text_losses("embedded:smollm2-135m-instruct", {"cat": "The cat sat on the mat."}))
    of_losses(list(losses.values()), seed=7).perplexity             # an interval over texts
    read_texts(Path("letters.jsonl"), field="text", limit=200)["letters.jsonl:1"]
    forgetting_results(found, after="student_after", before="student_before", seed=0).results

Of each kind of tasks four shares are reported: right by the scorer, right when read leniently
(`evaluation/lenient.py`), readable for the scorer, and ended by itself (the EOS rate). The first alone would mix what
was lost with a lost form and with not stopping.

Perplexity is exp of the mean negative log-likelihood over all tokens of all texts. It cannot be compared across
tokenizers; bits per byte can (Gao et al. 2020, arXiv:2101.00027, section 3.1). A text is read in windows that overlap
by half, so that a token of a long text has at least half a window before it; the first token is not counted. Texts of
fewer than two tokens are left out, and counted. Refuses a model that gives no numbers.

`everyday_texts` come with Stillroom: small talk, letters, instructions, news, a little code. They are not a
benchmark: perplexities on them can be compared with each other only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from math import exp, isfinite, log
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from stillroom.common.fields import found_at, no_field
from stillroom.common.files import storable
from stillroom.common.models.resolve import load_model, load_tokenizer, pick_device
from stillroom.common.records import Outcome, State
from stillroom.common.row_files import Fault, FileRow, files_of, kind_of, rows_of
from stillroom.common.stats.bootstrap import ratio_over_tasks
from stillroom.common.stats.intervals import Interval, wilson
from stillroom.errors import InputError, TrainingError
from stillroom.evaluation.comparisons import compare_right
from stillroom.evaluation.lenient import lenient_right
from stillroom.evaluation.metrics import in_form
from stillroom.evaluation.results import (
    OF_EOS,
    OF_LENIENT,
    OF_READABLE,
    OF_UNTRAINED,
    PERPLEXITY_RATIO,
    Measured,
    Result,
    result_of,
)

K = TypeVar("K", bound=Hashable)

MOST_NATS = 700.0
"""The mean nats of a token are capped here: exp of more overflows a float."""
WINDOW = 1024
"""Tokens that the model sees at once, at most; less where its context is shorter."""


def everyday_texts() -> dict[str, str]:
    """The texts that come with Stillroom, by name."""
    lines = files("stillroom.evaluation").joinpath("everyday.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"]: row["text"] for row in map(json.loads, lines)}


def read_texts(path: Path, field: str = "text", limit: int | None = None) -> dict[str, str]:
    """The texts under `field` of the rows of a file, or of several, by file name and line. `limit`: the most to read.

    Raises MissingFile, or InputError for a row without the text, or files without a row.
    """
    texts: dict[str, str] = {}
    for file in files_of(path, "texts.path"):
        for row in rows_of(file, json.loads):
            name = row.place if row.short in texts else row.short  # files of one name in several folders
            texts[name] = storable(_text(row, field))
            if len(texts) == limit:
                return texts
    if not texts:
        raise InputError(f"{path} holds no text: give rows with {field!r}, or texts: everyday")
    return texts


def _text(row: FileRow, field: str) -> str:
    if isinstance(row.values, Fault):
        what = "not JSON: " if row.values.kind == "json" else ""
        raise InputError(f'{row.place}: {what}{row.values.told}; a row is such as {{"text": "…"}}')
    text = found_at(row.values, field)
    if isinstance(text, str) and text.strip():
        return text
    if text is None:
        raise InputError(f"{row.place}: {no_field(row.values, field)}: name the field of the text in texts.field")
    what = "empty" if isinstance(text, str) else f"{kind_of(text)}, not text"
    raise InputError(f"{row.place}: the field {field!r} is {what}: correct or remove the row")


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


def text_losses(
    model_name: str, texts: Mapping[K, str], *, window: int = WINDOW, dtype: str = "auto"
) -> Iterator[tuple[K, TextLoss]]:
    """The loss of each text as soon as it is read, in the order given; of one of fewer than two tokens, with 0
    tokens. The texts are read as they are, without a chat template. The model is loaded when the first is asked for.

    Raises InputError where the window is below 2, TrainingError at the first text without a number, and what
    `load_model` does.
    """
    if window < 2:
        raise InputError(f"window is {window} tokens: one is predicted from another, so give 2 or more")
    if not texts:
        return
    device = pick_device()
    model, tokenizer = load_model(model_name, dtype, device), load_tokenizer(model_name)
    import torch

    seen = min(window, getattr(model.config, "max_position_embeddings", None) or window)
    for name, text in texts.items():
        ids = tokenizer(text, return_tensors="pt").input_ids.to(device)  # (1, T)
        size = len(text.encode("utf-8", "replace"))
        if ids.shape[1] < 2:
            yield name, TextLoss(0.0, 0, size)
            continue
        nats = 0.0
        with torch.inference_mode():
            for start, end, new in windows(ids.shape[1], seen):
                logits = model(input_ids=ids[:, start:end], use_cache=False).logits
                told = logits[0, -new - 1 : -1].float()  # (new, V)
                nats += float(torch.nn.functional.cross_entropy(told, ids[0, end - new : end], reduction="sum"))
        if not isfinite(nats):
            raise TrainingError(f"{model_name} gives likelihoods that are not numbers, for the text {name!r}")
        first = tokenizer.decode(ids[0, :1], skip_special_tokens=True)
        yield name, TextLoss(nats, ids.shape[1] - 1, max(1, size - len(first.encode())))


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


Facts = Mapping[str, Mapping[str, bool]]
"""By the name of the tasks and then task id."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Of one model. `right`: whether the answer to a task was right; what cannot be read is not. `counts`: by the
    name of the tasks, how the answers were scored: `accepted`, `rejected`, `unscored`, and `missing` for tasks
    without one. `losses`: by text; empty where none is read.

    `stopped`: whether the answer ended by itself. `readable`: whether the scorer could read an answer in it; without
    the tasks whose verdict says nothing of that. `lenient`: whether it was right when read leniently; without the
    tasks whose reference is not a number. A kind of tasks that was measured before these were has none of the three.
    """

    right: Facts = field(default_factory=dict)
    losses: Mapping[str, TextLoss] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    stopped: Facts = field(default_factory=dict)
    readable: Facts = field(default_factory=dict)
    lenient: Facts = field(default_factory=dict)

    def with_answers(self, name: str, outcomes: Sequence[Outcome]) -> Self:
        """With what the first answers to a kind of tasks say, in the place of what was known of them."""
        first = {o.task.id: (o.task, o.attempts[0]) for o in outcomes if o.attempts}
        stopped = {task: a.attempt.finish_reason == "stop" for task, (_, a) in first.items()}
        read = {
            task: lenient_right(a.attempt.text, of.reference, stopped=stopped[task])
            for task, (of, a) in first.items()
        }
        formed = {task: in_form(a) for task, (_, a) in first.items()}
        tally = Counter(a.verdict.state for _, a in first.values())
        counts = {state.value: tally[state] for state in State} | {"missing": len(outcomes) - len(first)}
        return replace(
            self,
            right={**self.right, name: {task: a.verdict.state is State.ACCEPTED for task, (_, a) in first.items()}},
            counts={**self.counts, name: counts},
            stopped={**self.stopped, name: stopped},
            readable={**self.readable, name: {task: value for task, value in formed.items() if value is not None}},
            lenient={**self.lenient, name: {task: value for task, value in read.items() if value is not None}},
        )

    def as_dict(self) -> dict[str, Any]:
        losses = {text: list(loss) for text, loss in self.losses.items()}
        named = {each: _plain(getattr(self, each)) for each in ("right", "counts", "stopped", "readable", "lenient")}
        return {**named, "losses": losses}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what `as_dict` gave, or gave before it knew more than `right`. Raises KeyError, TypeError or
        AttributeError for anything else."""
        losses = {text: TextLoss(*loss) for text, loss in data["losses"].items()}
        later = {each: _plain(data.get(each, {})) for each in ("stopped", "readable", "lenient")}
        return cls(_plain(data["right"]), losses, _plain(data["counts"]), **later)


def _plain(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: dict(of) for name, of in facts.items()}


def forgetting_results(by_who: Mapping[str, Forgotten], *, after: str, before: str, seed: int) -> Measured:
    """Rows of `eval.json`: `<name>_accuracy`, `<name>_lenient`, `<name>_readable` and `<name>_eos_rate` of each kind
    of tasks, `perplexity` and `bits_per_byte` of each model, `perplexity_ratio` of `after` over `before` on the same
    texts (above 1: they have become less likely). Comparisons of the first two between the two models, each with its
    `metric`.
    """
    names = dict.fromkeys(name for found in by_who.values() for name in found.right)
    rows, comparisons, notes = measured = Measured([], [], [])
    for name in names:
        for who, found in by_who.items():
            rows += _shares(who, name, found)
        notes += _not_numbers(name, by_who)
    for who, found in by_who.items():
        for name, tally in found.counts.items():
            if missing := tally.get("missing", 0):
                of = f"{missing:,} of {sum(tally.values()):,} {name} tasks"
                notes.append(f"{who}: {of} got no answer and are left out of n")
    for who, found in by_who.items():
        losses = [loss for loss in found.losses.values() if loss.tokens]
        if short := len(found.losses) - len(losses):
            notes.append(f"{who}: {short:,} of {len(found.losses):,} texts are too short for perplexity")
        if losses:
            rows += of_losses(losses, left_out=short, seed=seed).results(who)
    if after not in by_who or before not in by_who:
        return measured

    of_after, of_before = by_who[after], by_who[before]
    for name in names:
        sides = {OF_UNTRAINED: (of_after.right, of_before.right), OF_LENIENT: (of_after.lenient, of_before.lenient)}
        for ending, (a, b) in sides.items():
            compared = compare_right(after, a.get(name, {}), before, b.get(name, {}))
            if compared is not None:
                comparisons.append(compared.model_copy(update={"metric": f"{name}{ending}"}))
    # exp of the difference in mean nats per token; texts are drawn with both their losses.
    shared = [text for text in of_after.losses if text in of_before.losses and of_before.losses[text].tokens]
    pairs = {text: (of_after.losses[text], of_before.losses[text]) for text in shared}
    if any(a.tokens != b.tokens for a, b in pairs.values()):
        notes.append(f"{after} and {before} read the texts in other tokens: only bits_per_byte can be compared")
    elif pairs:
        ratio = ratio_over_tasks({text: (a.nats - b.nats, b.tokens) for text, (a, b) in pairs.items()}, seed=seed)
        if ratio is not None:
            rows.append(result_of(after, PERPLEXITY_RATIO, exp_of_all(ratio), against=before))
    return measured


def _shares(who: str, name: str, found: Forgotten) -> Iterator[Result]:
    """The four shares of one model and kind of tasks, as far as they were measured."""
    counts = dict(found.counts.get(name, {}))
    of = {OF_UNTRAINED: found.right, OF_LENIENT: found.lenient, OF_READABLE: found.readable, OF_EOS: found.stopped}
    for ending, facts in of.items():
        if values := facts.get(name):
            yes = sum(values.values())
            told = (counts or None) if ending == OF_UNTRAINED else {"yes": yes, "no": len(values) - yes}
            yield result_of(who, f"{name}{ending}", wilson(yes, len(values)), counts=told)


def _not_numbers(name: str, by_who: Mapping[str, Forgotten]) -> Iterator[str]:
    """What a lenient reading leaves out; the same for every model, as it depends on the tasks alone."""
    known = [found for found in by_who.values() if found.stopped.get(name)]
    tasks = {task for found in known for task in found.stopped[name]}
    left = tasks - {task for found in known for task in found.lenient.get(name, {})}
    if left and left == tasks:
        yield f"{name}: no reference is a number, so these tasks are not read leniently"
    elif left:
        yield (
            f"{name}: {len(left):,} of {len(tasks):,} references are not numbers; these tasks are left out of "
            f"{name}{OF_LENIENT}"
        )
