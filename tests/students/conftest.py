"""A random llama of two layers with a byte tokenizer and a chat template, saved like any student."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Deadlines would fail tests for nothing but a busy machine.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def _tokenizer(template: str | None = CHATML, **special: str) -> Any:
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


def _model(kind: str = "Llama", **changes: Any) -> Any:
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


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """These models are far too small for two threads, which would only wait for each other on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def chatml() -> str:
    return CHATML


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    return _tokenizer


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    return _model


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return _tokenizer()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny student."""
    from stillroom.sampling.models import quiet_transformers

    folder = tmp_path_factory.mktemp("models") / "tiny"
    with quiet_transformers():
        _model().save_pretrained(folder)
        _tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def row() -> Callable[..., dict[str, Any]]:
    """row("2 + 2?", "4") as the data sets hold it."""

    def make(prompt: str, completion: str, **more: Any) -> dict[str, Any]:
        return {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": completion}],
        } | more

    return make


@pytest.fixture(scope="session")
def pair() -> Callable[..., dict[str, Any]]:
    """pair("2 + 2?", "4", "no idea") as the data sets hold it."""

    def make(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
        return {
            "prompt": [{"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        } | more

    return make
