"""What a cache of a teacher's distribution costs on disk, and how near it comes: run by `whitebox.py`, in a child.

    python bench/_whitebox_cache.py gsm8k_train.jsonl 20      # -> {"k = 16": {"bytes": …, "cosine": {"1.0": …}}, …}

SmolLM2-135M-Instruct reads the first solutions of a file of GSM8K (`question` and `answer` in each line); the student
is the same model without its layers 22 and 25. Bytes are those of the blocks and the index, a position. The cosine is
that of the gradient of the forward KL with respect to the student's hidden states, over all positions at once, with
that of the whole distribution.
"""

from __future__ import annotations

import asyncio
import copy
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.students.data.encode import EncodedRow, encode_rows
from stillroom.students.data.rows import read_rows
from stillroom.students.methods.cpu_passes import can_flatten
from stillroom.students.whitebox.cache.capture import capture
from stillroom.students.whitebox.cache.fidelity import measure
from stillroom.students.whitebox.cache.local import LocalSource
from stillroom.students.whitebox.cache.rules import CacheSettings, Signature
from stillroom.students.whitebox.cache.store import Store
from stillroom.students.whitebox.head import Head

MODEL = "embedded:smollm2-135m-instruct"
LEFT_OUT = (22, 25)
TS = (1.0, 2.0)
RULES: dict[str, dict[str, Any]] = {
    "k = 8": {"k": 8},
    "k = 16": {"k": 16},
    "k = 32": {"k": 32},
    "mass .95, 2 to 32": {"mass": 0.95},
    "mass .98, 2 to 64": {"mass": 0.98, "most": 64},
}


class Once(LocalSource):
    """Remembers its hidden states: every rule looks at the same ones."""

    known: Any = None

    def states(self, rows: Any) -> Any:
        found = self.known or {}
        key = tuple(row.name for row in rows)
        if key not in found:
            self.known = {**found, key: super().states(rows)}
        return self.known[key]


def rows_of(file: Path, n: int, tokenizer: Any) -> list[EncodedRow]:
    """The first rows of a file of questions and answers."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:n]]
    turns = [
        ({"role": "user", "content": a["question"]}, {"role": "assistant", "content": a["answer"]}) for a in lines
    ]
    return encode_rows(read_rows([{"prompt": [q], "completion": [a]} for q, a in turns]), tokenizer, 2048).rows


def source(model: Any, vocabulary: int) -> Once:
    return Once(model, Head(model, vocabulary, "it"), flat=can_flatten(model.config), batch=8)


def shallow(model: Any) -> Any:
    """The model without some of its layers."""
    found = copy.deepcopy(model)
    found.model.layers = torch.nn.ModuleList(x for i, x in enumerate(found.model.layers) if i not in LEFT_OUT)
    for i, layer in enumerate(found.model.layers):
        layer.self_attn.layer_idx = i
    found.config.num_hidden_layers = len(found.model.layers)
    return found


def main() -> None:
    tokenizer = load_tokenizer(MODEL)
    rows = rows_of(Path(sys.argv[1]), int(sys.argv[2]), tokenizer)
    model = load_model(MODEL, "float32", "cpu")
    teacher, student = source(model, len(tokenizer)), source(shallow(model), len(tokenizer))
    found: dict[str, Any] = {}
    for name, rule in RULES.items():
        settings = CacheSettings(**rule)
        signature = Signature(MODEL, "", "float32", settings.rule, settings.bits)
        with tempfile.TemporaryDirectory() as folder:
            store = Store.open(Path(folder))
            held = asyncio.run(capture(store, lambda: teacher, rows, signature, TS)).entries
            size = store.size()
        kept = sum(len(entry.packed.ids) for entry in held) / size.positions
        near = measure(teacher, student, rows, rows, held, TS)
        found[name] = {
            "positions": size.positions,
            "tokens": kept,
            "bytes": size.bytes / size.positions,
            "cosine": {str(each.temperature): each.cosine for each in near},
            "norm": {str(each.temperature): each.norm for each in near},
            "kl": {str(each.temperature): [each.kl_kept, each.kl] for each in near},
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
