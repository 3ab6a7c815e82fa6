"""DPO rows: pairs as conversations that trl reads, in a folder that `datasets.load_dataset` reads.

A row has `prompt` (the messages that the student will see), `chosen` and `rejected` (one assistant turn each), and
what the pair came from: `task_id`, the ids, scores and sources of both sides, `margin`, `strategy`. trl drops columns
that it does not know.

    split = split_pairs(built.pairs, settings.test, seed=7)
    write_dpo(split.train, run / "dpo", card, held_out=split.test)

`chosen_score` and `rejected_score` are the judge's own; `margin` is what the strategy compared, which with
`length: residual` is not their difference. The same pairs give the same files, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from stillroom.common.datasets import ParquetRows
from stillroom.common.files import remove, replaced, storable
from stillroom.common.hashing import digest
from stillroom.errors import InputError, RunError
from stillroom.preferences.audit.items import asked_in
from stillroom.preferences.candidates import same_text
from stillroom.preferences.records import Pair

if TYPE_CHECKING:
    from stillroom.preferences.card import DpoCardFacts

FILES = {"train": "train.parquet", "test": "test.parquet"}
CARD_FILE = "README.md"


class DpoRow(TypedDict):
    """One row. Scores and margin are None where the judge compares and does not score."""

    prompt: list[dict[str, str]]
    chosen: list[dict[str, str]]
    rejected: list[dict[str, str]]
    task_id: str
    chosen_id: str
    rejected_id: str
    chosen_score: float | None
    rejected_score: float | None
    margin: float | None
    chosen_source: str
    rejected_source: str
    chosen_on_policy: bool
    rejected_on_policy: bool
    strategy: str


class Split(NamedTuple):
    """Pairs to train on, and held-out ones, both in the order given. No prompt is on both sides."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]


class Written(NamedTuple):
    """The files that were written. `test`: None where no pair is held out."""

    train: Path
    test: Path | None
    card: Path


def dpo_row(pair: Pair) -> DpoRow:
    """The row of a pair. A lone surrogate in a text, which no file can hold, becomes U+FFFD."""
    chosen, rejected = pair.chosen, pair.rejected
    return {
        "prompt": [_turn(message.role, message.content) for message in pair.prompt],
        "chosen": [_turn("assistant", chosen.candidate.text)],
        "rejected": [_turn("assistant", rejected.candidate.text)],
        "task_id": storable(pair.task.id),
        "chosen_id": storable(chosen.candidate.id),
        "rejected_id": storable(rejected.candidate.id),
        "chosen_score": chosen.score,
        "rejected_score": rejected.score,
        "margin": pair.margin,
        "chosen_source": storable(chosen.candidate.source),
        "rejected_source": storable(rejected.candidate.source),
        "chosen_on_policy": chosen.candidate.on_policy,
        "rejected_on_policy": rejected.candidate.on_policy,
        "strategy": pair.strategy,
    }


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": storable(content)}


def split_pairs(pairs: Sequence[Pair], test: int | float, *, seed: int = 0) -> Split:
    """Holds pairs out, whole prompts at a time, chosen by a hash of the prompt.

    `test`: at least that many pairs, or that share of them; 0 for none. Prompts that differ in white space or case
    only are one. The hash does not see ids or order, so the same prompts are held out whatever they are called.
    Raises InputError where nothing would be left to train on.
    """
    wanted = round(test * len(pairs)) if isinstance(test, float) else test
    pairs_of, held_out = Counter(map(_prompt_key, pairs)), set[str]()
    for key in sorted(pairs_of, key=lambda key: digest([seed, key])):
        if wanted <= 0:
            break
        held_out.add(key)
        wanted -= pairs_of[key]
    train = tuple(pair for pair in pairs if _prompt_key(pair) not in held_out)
    if pairs and not train:
        raise InputError(
            f"holding out {test:g} of {len(pairs)} pairs leaves none to train on: lower pairs.test, or give more "
            "prompts"
        )
    return Split(train, tuple(pair for pair in pairs if _prompt_key(pair) in held_out))


def _prompt_key(pair: Pair) -> str:
    return same_text(asked_in(pair.prompt)).casefold()


def write_dpo(pairs: Sequence[Pair], folder: Path, card: DpoCardFacts, *, held_out: Sequence[Pair] = ()) -> Written:
    """Writes the pairs as parquet, one file for each split, and the dataset card next to them.

    Rows are written in the order given. Raises RunError where there are none, or the folder cannot be written.
    """
    from stillroom.preferences.card import card_text

    if not pairs:
        raise RunError(f"no pair is left for {folder}: see in what was left out why, and loosen a setting of `pairs`")
    files = [_write(split, found, folder) for split, found in (("train", pairs), ("test", held_out))]
    with replaced(folder / CARD_FILE) as file:
        file.write(storable(card_text(card, pairs=pairs, held_out=held_out)).encode())
    return Written(folder / FILES["train"], files[1], folder / CARD_FILE)


def _write(split: str, pairs: Sequence[Pair], folder: Path) -> Path | None:
    path = folder / FILES[split]
    if not pairs:
        remove(path)  # of an earlier run
        return None
    with ParquetRows(path, _schema) as rows:
        for pair in pairs:
            rows.add(dpo_row(pair))
    return path


def _schema(pa: Any) -> Any:
    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    text, number, yes = pa.string(), pa.float64(), pa.bool_()
    types: dict[str, Any] = {
        **dict.fromkeys(("prompt", "chosen", "rejected"), turns),
        **dict.fromkeys(("task_id", "chosen_id", "rejected_id"), text),
        **dict.fromkeys(("chosen_score", "rejected_score", "margin"), number),
        **dict.fromkeys(("chosen_source", "rejected_source"), text),
        **dict.fromkeys(("chosen_on_policy", "rejected_on_policy"), yes),
        "strategy": text,
    }
    return pa.schema(list(types.items()))
