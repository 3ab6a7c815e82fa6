"""Continuous batching of one transformers model: every step gives each row in work its next token.

A step is one forward pass over the new tokens of all rows, packed without padding: one token of each row that is
answering, and a piece of the prompt of each row that is still reading. A row that ends frees its slot before the
next step, and a waiting request takes it. All of this runs in one thread, the caller's.

It refuses models whose layers keep something else than keys and values of their positions (recurrent layers).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from stillroom.common.marks import split_thinking
from stillroom.common.records import Completion, FinishReason, TokenChoice
from stillroom.errors import InputError
from stillroom.sampling.teachers.chat import check_fits, encode_chat, end_tokens, thinking_is_open
from stillroom.sampling.teachers.transformers.batch import Job, Row, Rows
from stillroom.sampling.teachers.transformers.kv_cache import ATTENTION, Group, Places, Step, slot_attention
from stillroom.sampling.teachers.transformers.sampler import Drawn, draw

if TYPE_CHECKING:
    import torch

READ_AT_ONCE = {"cpu": 256, "cuda": 2048}  # prompt tokens read in one step, besides one token per answering row
LAYERS = {"full_attention", "sliding_attention"}


class Engine:
    """A model, its tokenizer, and the rows in work."""

    def __init__(self, model: Any, tokenizer: Any, slots: int, *, share: bool = True) -> None:
        _use_slots(model)
        self.model = model
        self.tokenizer = tokenizer
        self.ends = end_tokens(tokenizer, model.generation_config)
        self.context = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)
        self.share = share
        self.slots = slots
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

        prompt = self._encode(job)
        job.usage.prompt_tokens, job.usage.completion_tokens = len(prompt), 0
        limit = min(self.context, len(prompt) + job.request.sampling.max_tokens)
        seeded = random.Random(job.request.seed)
        self.rows.waiting.append(Row(job, np.array(prompt, dtype=np.int32), list(prompt), limit, seeded))

    def step(self) -> None:
        """One forward pass; answers that end with it are handed over."""
        import torch

        with torch.inference_mode():
            self._forget_cancelled()
            self.rows.admit()
            if rows := self.rows.in_work():
                self._advance(rows)

    def _encode(self, job: Job) -> list[int]:
        messages = job.request.messages
        if messages not in self._prompts:
            if len(self._prompts) > 1024:
                self._prompts.clear()
            self._prompts[messages] = encode_chat(self.tokenizer, messages)
        prompt = self._prompts[messages]
        check_fits(prompt, self.context, job.request.task_id)
        return prompt

    def _forget_cancelled(self) -> None:
        self.rows.drop([row for row in self.rows.in_work() if row.job.future.cancelled()])
        kept = [row for row in self.rows.waiting if not row.job.future.cancelled()]
        if len(kept) < len(self.rows.waiting):
            self.rows.waiting.clear()
            self.rows.waiting.extend(kept)

    def _advance(self, rows: list[Row]) -> None:
        self._feed(rows)
        answering = [slot for slot, row in enumerate(rows) if row.done + row.fed == len(row.tokens)]
        logits = self._forward(rows, answering)
        for row in rows:
            row.done += row.fed
        if answering:
            ready = [rows[slot] for slot in answering]
            params = [row.job.request.sampling for row in ready]
            self._append(ready, draw(logits, params, [row.random.random() for row in ready]))

    def _feed(self, rows: list[Row]) -> None:
        """Says how many tokens each row is fed in this step: at least one, and all it can while there is room."""
        room = READ_AT_ONCE["cpu" if self.model.device.type == "cpu" else "cuda"]
        for row in rows:
            row.fed = min(len(row.tokens) - row.done, 1 + room)
            room -= row.fed - 1

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
        places = Places(torch.tensor([slot for slot, _ in fed], device=device), at - shared)
        step = Step(self.rows.cache, places, self._groups(rows, at, shared))
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
        thinking = split_thinking(text, opened=thinking_is_open(self.tokenizer, row.prompt.tolist()))
        return Completion(
            text=thinking.text,
            finish_reason=reason,
            prompt_tokens=len(row.prompt),
            completion_tokens=len(answer),
            reasoning=thinking.reasoning,
            logprobs=tuple(row.logprobs) if params.logprobs or params.top_logprobs else None,
            choices=self._choices(row) if params.top_logprobs else None,
        )

    def _choices(self, row: Row) -> tuple[TokenChoice, ...]:
        drawn = zip(row.answer, row.logprobs, row.tops, strict=True)
        return tuple(
            TokenChoice(self._text(token), logprob, tuple((self._text(other), p) for other, p in top))
            for token, logprob, top in drawn
        )

    def _text(self, token: int) -> str:
        """What one token stands for; tokenizers that mark spaces lose that of a first token in decoding."""
        if token not in self._texts:
            text = str(self.tokenizer.decode([token]))
            spaced = str(self.tokenizer.convert_ids_to_tokens(token)).startswith("\N{LOWER ONE EIGHTH BLOCK}")
            self._texts[token] = f" {text}" if spaced and not text.startswith(" ") else text
        return self._texts[token]


def _use_slots(model: Any) -> None:
    """Makes the model's attention read our slots, or says why it cannot."""
    from transformers import AttentionInterface

    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or LAYERS)
    if not getattr(model, "_supports_attention_backend", False) or kinds - LAYERS:
        raise InputError(
            f"{type(model).__name__} cannot be batched here (layers: {', '.join(sorted(kinds))}): use kind: vllm"
        )
    AttentionInterface.register(ATTENTION, slot_attention)
    model.set_attn_implementation(ATTENTION)
