"""Continuous batching of one transformers model: every step gives each row in work its next token.

A step is one forward pass over the new tokens of all rows, packed without padding: one token of each row that is
answering, and a piece of the prompt of each row that is still reading. A row that ends frees its slot before the
next step, and a waiting request takes it. All of this runs in one thread, the caller's.

The next tokens of all rows are drawn in one go, each row with its own settings and its own random number. A draw is
the inverse of the cumulative distribution at one uniform number, so that it depends on the row's own seed and never
on who shares its batch (as far as the logits do not: batched floating point rounds differently). Log-probabilities
are those of the model itself, before temperature and cuts, as servers report them.

It refuses models whose layers keep something else than keys and values of their positions (recurrent layers).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stillroom.common.marks import split_thinking
from stillroom.common.records import Completion, FinishReason, SamplingParams, TokenChoice
from stillroom.errors import InputError
from stillroom.sampling.teachers.chat import check_fits, encode_chat, end_tokens, thinking_is_open
from stillroom.sampling.teachers.transformers.batch import Job, Likely, Row, Rows
from stillroom.sampling.teachers.transformers.kv_cache import ATTENTION, Group, Step, slot_attention

if TYPE_CHECKING:
    import torch

READ_AT_ONCE = {"cpu": 256, "cuda": 2048}  # prompt tokens read in one step, besides one token per answering row
LAYERS = {"full_attention", "sliding_attention"}
BLOCK = 256  # tokens summed at a time
CANDIDATES = 1024  # most likely tokens looked at before all are sorted for a top_p


class Engine:
    """A model, its tokenizer, and the rows in work."""

    def __init__(self, model: Any, tokenizer: Any, slots: int, *, share: bool = True) -> None:
        from transformers import AttentionInterface

        # The model's attention is to read our slots.
        kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or LAYERS)
        if not getattr(model, "_supports_attention_backend", False) or kinds - LAYERS:
            raise InputError(
                f"{type(model).__name__} cannot be batched here (layers: {', '.join(sorted(kinds))}): use kind: vllm"
            )
        AttentionInterface.register(ATTENTION, slot_attention)
        model.set_attn_implementation(ATTENTION)
        self.model, self.tokenizer = model, tokenizer
        self.ends = end_tokens(tokenizer, model.generation_config)
        self.context = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)
        self.slots, self.share = slots, share
        self.rows = Rows(slots, share=share)
        self._prompts: dict[Any, list[int]] = {}
        self._texts: dict[int, str] = {}

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return not (self.rows.active or self.rows.waiting)

    def jobs(self) -> list[Job]:
        """Those that wait for an answer."""
        return [row.job for row in (*self.rows.in_work(), *self.rows.waiting)]

    def reset(self) -> None:
        """Forgets all rows and frees their keys."""
        self.rows = Rows(self.slots, share=self.share)

    def add(self, job: Job) -> None:
        """Queues a request. Raises InputError for one that cannot be asked: too long, or not for this template."""
        import numpy as np

        messages = job.request.messages
        if messages not in self._prompts:
            if len(self._prompts) > 1024:
                self._prompts.clear()
            self._prompts[messages] = encode_chat(self.tokenizer, messages)
        prompt = self._prompts[messages]
        check_fits(prompt, self.context, job.request.task_id)
        job.usage.prompt_tokens, job.usage.completion_tokens = len(prompt), 0
        limit = min(self.context, len(prompt) + job.request.sampling.max_tokens)
        seeded = random.Random(job.request.seed)
        self.rows.waiting.append(Row(job, np.array(prompt, dtype=np.int32), list(prompt), limit, seeded))

    def step(self) -> None:
        """One forward pass; answers that end with it are handed over."""
        import torch

        with torch.inference_mode():
            self.rows.drop([row for row in self.rows.in_work() if row.job.future.cancelled()])
            kept = [row for row in self.rows.waiting if not row.job.future.cancelled()]
            if len(kept) < len(self.rows.waiting):
                self.rows.waiting.clear()
                self.rows.waiting.extend(kept)
            self.rows.admit()
            if not (rows := self.rows.in_work()):
                return
            # Each row is fed one token at least, and all it can be while there is room.
            room = READ_AT_ONCE["cpu" if self.model.device.type == "cpu" else "cuda"]
            for row in rows:
                row.fed = min(len(row.tokens) - row.done, 1 + room)
                room -= row.fed - 1
            answering = [slot for slot, row in enumerate(rows) if row.done + row.fed == len(row.tokens)]
            logits = self._forward(rows, answering)
            for row in rows:
                row.done += row.fed
            if answering:
                ready = [rows[slot] for slot in answering]
                params = [row.job.request.sampling for row in ready]
                self._append(ready, draw(logits, params, [row.random.random() for row in ready]))

    def _forward(self, rows: list[Row], answering: list[int]) -> torch.Tensor:
        """Logits (answering rows, V) of the step. The first R tokens of the pass are the rows' last ones."""
        import torch

        self.rows.cache.reserve(max(row.own for row in rows))
        fed = [(slot, row.done + row.fed - 1) for slot, row in enumerate(rows)]
        for slot, row in enumerate(rows):
            fed += [(slot, at) for at in range(row.done, row.done + row.fed - 1)]
        device = self.model.device
        ids = torch.tensor([[rows[slot].tokens[at] for slot, at in fed]], device=device)
        at = torch.tensor([at for _, at in fed], device=device)
        shared = torch.tensor([rows[slot].shared for slot, _ in fed], device=device)
        slots = torch.tensor([slot for slot, _ in fed], device=device)
        step = Step(self.rows.cache, slots, at - shared, self._groups(rows, at, shared))
        keep = torch.tensor(answering, device=device, dtype=torch.long)
        out = self.model(input_ids=ids, position_ids=at[None], use_cache=False, logits_to_keep=keep, step=step)
        logits: torch.Tensor = out.logits[0]
        return logits

    def _groups(self, rows: list[Row], at: torch.Tensor, shared: torch.Tensor) -> list[Group]:
        """The rows' last tokens, and apart from them the pieces of prompts, padded to the longest."""
        import torch

        last = torch.arange(len(rows), device=at.device)[:, None]
        groups = [self._group(None, last, at, shared[: len(rows)], max(row.own for row in rows))]
        reading = [slot for slot, row in enumerate(rows) if row.fed > 1]
        if reading:
            pieces = [rows[slot].fed - 1 for slot in reading]
            lengths = torch.tensor(pieces, device=at.device)[:, None]
            starts = len(rows) + lengths.cumsum(0) - lengths
            steps = torch.arange(max(pieces), device=at.device)[None]
            which = torch.tensor(reading, device=at.device)
            tokens = starts + steps.minimum(lengths - 1)
            group = self._group(which, tokens, at, shared[which], max(rows[slot].own for slot in reading))
            group.real = steps < lengths
            groups.append(group)
        return groups

    def _group(
        self, which: torch.Tensor | None, tokens: torch.Tensor, at: torch.Tensor, shared: torch.Tensor, own: int
    ) -> Group:
        import torch

        trunk = 0 if self.rows.trunk is None else len(self.rows.trunk)
        steps = torch.arange(trunk + own, device=at.device)[None]
        in_trunk = steps < trunk
        key_at = torch.where(in_trunk, steps, steps - trunk + shared[:, None])
        there = ~in_trunk | (steps < shared[:, None])
        return Group(which, tokens, at[tokens], key_at, there, own)

    def _append(self, rows: list[Row], drawn: Drawn) -> None:
        finished = []
        for number, row in enumerate(rows):
            row.tokens.append(drawn.tokens[number])
            params = row.job.request.sampling
            if drawn.logprobs is not None and (params.logprobs or params.top_logprobs):
                row.logprobs.append(drawn.logprobs[number])
                row.tops.append(drawn.tops.get(number, []))
            row.job.usage.completion_tokens = len(row.tokens) - len(row.prompt)
            if (reason := self._ended(row)) is not None:
                completion = self._completion(row, reason)
                if row.job.future.set_running_or_notify_cancel():
                    row.job.future.set_result(completion)
                finished.append(row)
        self.rows.drop(finished)

    def _ended(self, row: Row) -> FinishReason | None:
        if row.tokens[-1] in self.ends:
            return "stop"
        stops = row.job.request.sampling.stop
        if stops:
            # A token is a character at least, or part of one.
            tail = self._decode(row.answer[-(max(map(len, stops)) + 8) :])
            if any(stop in tail for stop in stops):
                return "stop"
        return "length" if len(row.tokens) >= row.limit else None

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _completion(self, row: Row, reason: FinishReason) -> Completion:
        answer, params = row.answer, row.job.request.sampling
        text = self._decode(answer[:-1] if answer[-1] in self.ends else answer)
        cuts = [text.find(stop) for stop in params.stop if stop in text]
        text = text[: min(cuts)] if cuts else text
        choices: tuple[TokenChoice, ...] | None = None
        if params.top_logprobs:
            drawn = zip(answer, row.logprobs, row.tops, strict=True)
            choices = tuple(
                TokenChoice(self._text(token), logprob, tuple((self._text(other), p) for other, p in top))
                for token, logprob, top in drawn
            )
        thinking = split_thinking(text, opened=thinking_is_open(self.tokenizer, row.prompt.tolist()))
        return Completion(
            text=thinking.text,
            finish_reason=reason,
            prompt_tokens=len(row.prompt),
            completion_tokens=len(answer),
            reasoning=thinking.reasoning,
            logprobs=tuple(row.logprobs) if params.logprobs or params.top_logprobs else None,
            choices=choices,
        )

    def _text(self, token: int) -> str:
        """What one token stands for; tokenizers that mark spaces lose that of a first token in decoding."""
        if token not in self._texts:
            text = str(self.tokenizer.decode([token]))
            spaced = str(self.tokenizer.convert_ids_to_tokens(token)).startswith("\N{LOWER ONE EIGHTH BLOCK}")
            self._texts[token] = f" {text}" if spaced and not text.startswith(" ") else text
        return self._texts[token]


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
