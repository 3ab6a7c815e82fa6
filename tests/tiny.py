"""Models that are small enough to be made in a test: a llama of two layers, a tokenizer of bytes, a chat template.

`save_tiny` saves a random one. `save_small` saves one that was taught the form of an answer, so that a few steps of
training make a student of it whose answers can be checked: a loop with it takes seconds where one with SmolLM2 takes
minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def make_tokenizer(template: str | None = CHATML, **special: str) -> Any:
    """Bytes and three special tokens; padding and end of sequence are one token, as in many a published model."""
    import tokenizers
    import transformers
    from tokenizers import decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *letters])}
    raw = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(SPECIAL)
    tokens = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"} | special
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=template, **tokens)


def make_model(kind: str = "Llama", **changes: Any) -> Any:
    """A random model of a family; `changes` go to its configuration."""
    import torch
    import transformers

    settings = {
        "vocab_size": 260,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "head_dim": 8,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    torch.manual_seed(0)
    return getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**settings | changes))


def save_tiny(folder: Path) -> Path:
    """A random model and its tokenizer, saved like any student."""
    return _save(make_model(), folder)


def save_small(folder: Path, conversations: Sequence[tuple[str, str]], *, steps: int = 300) -> Path:
    """A model of 107,000 weights that was taught the form of `conversations` (question, answer), saved like any
    student. Takes some 7 s of one core."""
    import torch

    tokenizer = make_tokenizer()
    model = make_model(hidden_size=64, intermediate_size=128, head_dim=16, max_position_embeddings=512)
    rows = [_encoded(tokenizer, question, answer) for question, answer in conversations]
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    drawn = torch.randint(len(rows), (steps, 16), generator=torch.Generator().manual_seed(0))
    for step in range(steps):
        batch = _padded([rows[row] for row in drawn[step].tolist()])
        optimiser.zero_grad()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
    return _save(model, folder)


def _encoded(tokenizer: Any, question: str, answer: str) -> tuple[list[int], list[int]]:
    """The ids of the prompt and those of the answer, its end included."""
    asked = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    return tuple(tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, f"{answer}<|im_end|>"))


def _padded(rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, Any]:
    """Tensors (B, T); only the answers are learned."""
    import torch

    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    shape = (len(rows), longest)
    ids, labels = torch.zeros(shape, dtype=torch.long), torch.full(shape, -100)
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
        mask[row, :end] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def _save(model: Any, folder: Path) -> Path:
    from stillroom.common.models.quiet import quiet_transformers

    with quiet_transformers():
        model.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
    return folder
