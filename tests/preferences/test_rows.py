"""DPO rows: what is in them, the split by prompt, the same bytes for the same pairs, and who can read them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Task, user
from stillroom.errors import InputError, RunError
from stillroom.judges.calibrate import Calibration, Estimate
from stillroom.preferences.audit import audit
from stillroom.preferences.pairs import build_pairs
from stillroom.preferences.records import Pair, Slate
from stillroom.preferences.rows import DpoCardFacts, SourceFacts, card_text, dpo_row, split_pairs, write_dpo
from stillroom.preferences.settings import PairSettings
from tests.preferences.building import build, judged, slate, task

FACTS = DpoCardFacts(
    recipe="house_style",
    sources=[
        SourceFacts("teacher", "Qwen/Qwen3-8B", "apache-2.0"),
        SourceFacts("student", "m", None, on_policy=True),
    ],
    licence="apache-2.0",
    tasks="jsonl",
    judge="style-1@abc",
    settings=PairSettings(),
    seed=7,
    rubric="writing_style 1",
    versions={"stillroom": "0.1.0"},
)


def pairs(count: int) -> list[Pair]:
    return [p for i in range(count) for p in build(slate(1.0, 2.0, own=(1,), of=f"t{i}")).pairs]


def test_a_row_holds_the_conversation_and_where_it_is_from() -> None:
    [pair] = build(slate(1.5, 4.0, own=(1,))).pairs
    assert dpo_row(pair) == {
        "prompt": [{"role": "user", "content": "Write about t."}],
        "chosen": [{"role": "assistant", "content": "answer 1 of teacher"}],
        "rejected": [{"role": "assistant", "content": "answer 0 of teacher"}],
        "task_id": "t",
        "chosen_id": "t/teacher/1",
        "rejected_id": "t/teacher/0",
        "chosen_score": 4.0,
        "rejected_score": 1.5,
        "margin": 2.5,
        "chosen_source": "teacher",
        "rejected_source": "teacher",
        "chosen_on_policy": True,
        "rejected_on_policy": False,
        "strategy": "best_worst",
    }


@given(st.text(alphabet=st.characters(), max_size=30), st.text(alphabet=st.characters(), max_size=30))
def test_any_text_can_be_stored(chosen: str, prompt: str) -> None:
    asked = Task("t\ud800", user(prompt), None, "x")
    side = judged(1.0, chosen, of=asked.id)
    row = dpo_row(Pair(asked, asked.messages, side, side, None, "tournament"))
    for said in (row["chosen"][0]["content"], row["prompt"][0]["content"], row["task_id"], row["chosen_id"]):
        said.encode("utf-8")


# -- the split ---------------------------------------------------------------------------------------------------


def several(prompts: int, each: int) -> list[Pair]:
    found = []
    for i in range(prompts):
        [pair] = build(slate(1.0, 2.0, of=f"t{i}")).pairs
        found += [replace(pair, margin=float(n + 1)) for n in range(each)]
    return found


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 9), st.integers(0, 2))
def test_no_prompt_is_on_both_sides_and_no_pair_is_lost(prompts: int, each: int, test: int, seed: int) -> None:
    given_pairs = several(prompts, each)
    if test > (prompts - 1) * each:
        with pytest.raises(InputError, match=r"leaves none to train on: lower pairs\.test"):
            split_pairs(given_pairs, test, seed=seed)
        return
    split = split_pairs(given_pairs, test, seed=seed)
    assert not {p.prompt for p in split.train} & {p.prompt for p in split.test}
    assert test <= len(split.test) < test + each
    assert [p for p in given_pairs if p in split.train] == list(split.train)
    assert len(split.train) + len(split.test) == len(given_pairs)


@pytest.mark.parametrize(("test", "expected"), [(0, 0), (0.1, 2), (0.5, 10), (3, 3)])
def test_a_number_or_a_share_is_held_out(test: float, expected: int) -> None:
    assert len(split_pairs(pairs(20), test).test) == expected


def test_the_split_sees_neither_ids_nor_order_but_the_seed() -> None:
    given_pairs = pairs(30)
    renamed = [replace(p, task=replace(p.task, id=p.task.id + "x")) for p in reversed(given_pairs)]
    held_out = {p.prompt for p in split_pairs(given_pairs, 0.3, seed=1).test}
    assert {p.prompt for p in split_pairs(renamed, 0.3, seed=1).test} == held_out
    assert {p.prompt for p in split_pairs(given_pairs, 0.3, seed=2).test} != held_out


def test_prompts_that_differ_in_white_space_or_case_are_one() -> None:
    first, second, *others = pairs(10)
    second = replace(second, prompt=user("WRITE  about t0. "))
    for seed in range(20):
        split = split_pairs([first, second, *others], 0.3, seed=seed)
        assert (first in split.test) is (second in split.test)


def test_no_pairs_can_be_split() -> None:
    assert split_pairs([], 0.5) == ((), ())


# -- files -------------------------------------------------------------------------------------------------------


def test_the_same_pairs_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_dpo(pairs(20), tmp_path / name, FACTS, held_out=pairs(3))
    for name in ("train.parquet", "test.parquet", "README.md"):
        first, second = (hashlib.sha256((tmp_path / part / name).read_bytes()).hexdigest() for part in "ab")
        assert first == second
    write_dpo(pairs(20)[::-1], tmp_path / "b", FACTS)
    assert (tmp_path / "a" / "train.parquet").read_bytes() != (tmp_path / "b" / "train.parquet").read_bytes()


def test_the_folder_can_be_loaded_as_a_dataset(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    split = split_pairs(pairs(10), 0.2)
    write_dpo(split.train, tmp_path / "dpo", FACTS, held_out=split.test)
    loaded = datasets.load_dataset(str(tmp_path / "dpo"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 8, "test": 2}
    assert list(loaded["train"]) == [dpo_row(pair) for pair in split.train]
    assert loaded["test"].column_names == list(dpo_row(split.test[0]))


def test_without_scores_the_columns_are_there_all_the_same(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    found = (judged(None, index=0), judged(None, index=1))
    ends = (found[0].candidate.id, found[1].candidate.id)
    built = build_pairs([Slate(task(), found, *ends)], PairSettings(strategy="tournament"))
    write_dpo(built.pairs, tmp_path, FACTS)
    assert not (tmp_path / "test.parquet").exists()
    [row] = pq.read_table(tmp_path / "train.parquet").to_pylist()
    assert (row["chosen_score"], row["margin"], row["chosen_id"]) == (None, None, ends[0])
    assert str(pq.read_schema(tmp_path / "train.parquet").field("margin").type) == "double"


def test_writing_again_leaves_nothing_of_an_earlier_run(tmp_path: Path) -> None:
    write_dpo(pairs(5), tmp_path, FACTS, held_out=pairs(2))
    write_dpo(pairs(2), tmp_path, FACTS)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["README.md", "train.parquet"]


def test_no_pairs_are_a_run_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no pair is left"):
        write_dpo([], tmp_path / "dpo", FACTS)
    assert not (tmp_path / "dpo").exists()


# -- the card ----------------------------------------------------------------------------------------------------


def front_matter(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n", 2)[1])
    return found


ESTIMATES = [name for name, field in Calibration.model_fields.items() if "Estimate" in str(field.annotation)]
MEASURED: dict[str, Any] = {
    **{key: {} for key in ("labels", "final", "states")},
    **dict.fromkeys(("seed", "pairs", "judged", "calls"), 1),
    "judge": "j",
    "kind": "pointwise",
    "failures": {"by_answer": {}, "by_length": {}, "by_source": {}},
}


@pytest.mark.parametrize("held_out", [0, 2])
def test_the_card_names_the_splits(held_out: int) -> None:
    found = front_matter(card_text(FACTS, pairs=pairs(3), held_out=pairs(held_out)))
    files = found["configs"][0]["data_files"]
    assert [entry["split"] for entry in files] == ["train", "test"][: 1 + bool(held_out)]
    assert (found["license"], found["size_categories"]) == ("apache-2.0", ["n<1K"])


def test_the_card_says_who_wrote_who_judged_and_what_was_found() -> None:
    built = build(*(slate(1.0, 2.0, None, of=f"t{i}") for i in range(9)), slate(1.0, 1.0, of="u"))
    estimate = Estimate(value=0.8, low=0.7, high=0.9, n=100)
    calibration = Calibration.model_validate(MEASURED | dict.fromkeys(ESTIMATES, estimate) | {"first": None})
    found = audit(built.pairs, slates=[slate(1.0, None)])
    facts = replace(FACTS, counts=built.counts, audit=found, calibration=calibration, gate="passed")
    text = card_text(facts, pairs=built.pairs)
    for line in (
        "| judge | style-1@abc |",
        "| rubric | writing_style 1 |",
        "| strategy | best_worst |",
        "| teacher | Qwen/Qwen3-8B | apache-2.0 | 9 | 9 |",
        "| student (the student itself) | m | not stated | 0 | 0 |",
        "| candidates left out: judge_failed | 9 |",
        "| tasks without a pair: tie | 1 |",
        "| chosen minus rejected | 0 (0 to 0, n = 9) |",
        "| Cohen's κ | 0.800 \\[0.700, 0.900\\] (n = 100) |",
        "| P(first) | does not apply |",
        "| gate | passed |",
        "| candidates whose judgement failed | 1 of 2 (50.0%): 1 refused | warning |",
    ):
        assert line in text, line


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"strategy": "margin", "margin": 1.5}, "| strategy | margin (at least 1.5 points) |"),
        ({"strategy": "margin_quantile"}, "gaps from quantile 0.5 of the judge's own"),
        ({"strategy": "on_policy"}, "on_policy (both sides the student's)"),
        ({"strategy": "on_policy", "on_policy": "one"}, "on_policy (one side the student's)"),
        ({"length": "matched"}, "| length control | matched within 1.25 |"),
        ({"length": "residual"}, "| length control | residual |"),
    ],
)
def test_the_card_says_how_pairs_were_made(settings: dict[str, Any], line: str) -> None:
    assert line in card_text(replace(FACTS, settings=PairSettings(**settings)), pairs=pairs(1))


def test_hostile_names_stay_in_their_cells() -> None:
    name = "x | y\n---\n<script>alert(1)</script> `a` [b](c)"
    text = card_text(replace(FACTS, judge=name, recipe=name, sources=[SourceFacts(name, name)]), pairs=pairs(1))
    assert "<script>" not in text.split("---\n", 2)[2]
    assert r"| judge | x \| y --- \<script\>alert(1)\</script\> \`a\` \[b\](c) |" in text


# -- trl ---------------------------------------------------------------------------------------------------------

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer() -> Any:
    import tokenizers
    import transformers
    from tokenizers import decoders, models, pre_tokenizers

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*special, *letters])}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(special)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, chat_template=CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what trl and its dependencies warn of is not tested here
def test_trl_reads_the_rows_as_written(tmp_path: Path) -> None:
    """DPOTrainer's own tokenisation of a folder on disk: the prompt once, an answer on each side, and its end."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    import transformers

    write_dpo(pairs(4), tmp_path / "dpo", FACTS)
    rows = datasets.load_dataset(str(tmp_path / "dpo"), split="train", cache_dir=str(tmp_path / "cache"))
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=260, num_key_value_heads=2, **sizes)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "tiny")
    tokenizer, how = byte_tokenizer(), {"report_to": [], "use_cpu": True, "bf16": False}
    trainer = trl.DPOTrainer(
        str(tmp_path / "tiny"),
        args=trl.DPOConfig(str(tmp_path / "out"), **how),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    for row, pair in zip(trainer.train_dataset, pairs(4), strict=True):
        asked = pair.prompt[0].content
        assert tokenizer.decode(row["prompt_ids"]) == f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
        for side, found in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            assert tokenizer.decode(row[f"{side}_ids"]) == f"{found.candidate.text}<|im_end|>\n"
