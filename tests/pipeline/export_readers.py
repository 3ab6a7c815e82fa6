"""What LLaMA-Factory and axolotl read from an exported file: run as a program, with their packages on the path.

    python export_readers.py axolotl TOKENIZER FILE USAGE [FILE USAGE …]

Reads with the tool's own code, as its settings (`USAGE`, the YAML that `stillroom export` prints) tell it to, and
prints, for each file, a list of examples as JSON. Of an SFT row: `whole`, the text of all tokens, and `trained`, the text of those
with a label. Of a pair: `prompt`, `chosen` and `rejected`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from datasets import load_dataset
from transformers import AutoTokenizer

Example = dict[str, str]


def labelled(tokenizer: Any, ids: list[int], labels: list[int]) -> Example:
    """An SFT example: a label of -100 is not trained on."""
    return {
        "whole": tokenizer.decode(ids),
        "trained": tokenizer.decode([label for label in labels if label != -100]),
    }


def axolotl(file: Path, tokenizer: Any, usage: dict[str, Any]) -> list[Example]:
    """Through its prompt strategies, which its trainers read data sets with."""
    from axolotl.prompt_strategies.chat_template import load
    from axolotl.prompt_strategies.dpo.chat_template import default
    from axolotl.utils.dict import DictDefault

    config = DictDefault(usage | {"sequence_len": 4096, "train_on_inputs": False})
    entry = config["datasets"][0]
    rows = load_dataset(entry["ds_type"], data_files=entry["path"], split="train")
    if "rl" in usage:
        transform = default(config)
        transform = transform[0] if isinstance(transform, tuple) else transform
        return [
            {side: said[side] for side in ("prompt", "chosen", "rejected")}
            for said in (transform(row, tokenizer=tokenizer) for row in rows)
        ]
    strategy = load(tokenizer, config, entry)
    read = [strategy.tokenize_prompt(row) for row in rows]
    return [labelled(tokenizer, one["input_ids"], one["labels"]) for one in read]


def llamafactory(file: Path, tokenizer: Any, usage: dict[str, Any]) -> list[Example]:
    """Through `get_dataset`, which its trainers call."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams.data_args import DataArguments
    from llamafactory.hparams.model_args import ModelArguments
    from transformers import Seq2SeqTrainingArguments

    known = json.loads((Path(usage["dataset_dir"]) / "dataset_info.json").read_text(encoding="utf-8"))
    pairs = known[usage["dataset"]].get("ranking", False)
    data = DataArguments(**usage, template="chatml", cutoff_len=4096, overwrite_cache=True)
    model = ModelArguments(model_name_or_path=tokenizer.name_or_path, cache_dir=str(file.parent / "cache"))
    training = Seq2SeqTrainingArguments(output_dir=str(file.parent / "out"), report_to=[], use_cpu=True)
    template = get_template_and_fix_tokenizer(tokenizer, data)
    stage = "rm" if pairs else "sft"
    rows = get_dataset(template, model, data, training, stage=stage, tokenizer=tokenizer)["train_dataset"]
    if not pairs:
        return [labelled(tokenizer, row["input_ids"], row["labels"]) for row in rows]
    sides = [
        {
            side: labelled(tokenizer, row[f"{side}_input_ids"], row[f"{side}_labels"])
            for side in ("chosen", "rejected")
        }
        for row in rows
    ]
    return [
        {"prompt": said["chosen"]["whole"].removesuffix(said["chosen"]["trained"])}
        | {side: text["trained"] for side, text in said.items()}
        for said in sides
    ]


if __name__ == "__main__":
    tool, folder, *given = sys.argv[1:]
    read = {"axolotl": axolotl, "llamafactory": llamafactory}[tool]
    found = [
        read(Path(path), AutoTokenizer.from_pretrained(folder), yaml.safe_load(settings))
        for path, settings in zip(given[::2], given[1::2], strict=True)
    ]
    print(json.dumps(found))
