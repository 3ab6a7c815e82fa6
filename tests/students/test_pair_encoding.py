from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError, TrainingError
from stillroom.students.data.encode import IGNORED, encode_pairs
from stillroom.students.data.rows import read_pairs

END = 2


def test_both_answers_follow_one_prompt_and_end_the_turn(pair: Any, tokenizer: Any) -> None:
    encoded = encode_pairs(read_pairs([pair("hi", "yes", "no, no")]), tokenizer, 256)
    row = encoded.rows[0]
    assert tokenizer.decode(row.prompt_ids) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(row.chosen_ids) == "yes<|im_end|>"
    assert tokenizer.decode(row.rejected_ids) == "no, no<|im_end|>"
    assert row.longest == len(row.prompt_ids) + len(row.rejected_ids)
    assert encoded.end_id == END


def test_a_side_is_a_row_with_labels_on_the_answer(pair: Any, tokenizer: Any) -> None:
    row = encode_pairs(read_pairs([pair("hi", "yes", "no")]), tokenizer, 256).rows[0]
    side = row.side("rejected")
    assert side.input_ids == row.prompt_ids + row.rejected_ids
    assert side.labels == [IGNORED] * len(row.prompt_ids) + row.rejected_ids
    assert side.name == "row 1, rejected"


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_pair_with_one_long_side_is_left_out_not_cut(side: str, pair: Any, tokenizer: Any) -> None:
    long = {"chosen": "yes", "rejected": "no"} | {side: "x" * 50}
    encoded = encode_pairs(read_pairs([pair("a", "yes", "no"), pair("b", **long, task_id="big")]), tokenizer, 60)
    assert [row.name for row in encoded.rows] == ["row 1"]
    assert [(left.name, left.reason) for left in encoded.left_out] == [("row 2 (task big)", "too_long")]
    assert encoded.left_out[0].tokens > 60
    assert "longer than max_length" in str(encoded.left_out[0])


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("same", "same", "same_answers"),
        ("a<|im_end|>b", "c", "end_token_inside"),
        ("c", "a<|im_end|>", "end_token_inside"),
    ],
)
def test_pairs_that_teach_nothing_or_the_wrong_thing(
    chosen: str, rejected: str, reason: str, pair: Any, tokenizer: Any
) -> None:
    encoded = encode_pairs(read_pairs([pair("a", "yes", "no"), pair("b", chosen, rejected)]), tokenizer, 256)
    assert [left.reason for left in encoded.left_out] == [reason]
    assert len(encoded.rows) == 1


def test_a_template_that_looks_ahead_is_refused(pair: Any, chatml: str, make_tokenizer: Callable[..., Any]) -> None:
    """It marks the prompt of an answer by the answer's first letter, as some do with thinking."""
    ahead = "{% if messages[-1]['content'][0] == 'n' %}{{ '<|im_start|>!' }}{% endif %}" + chatml
    with pytest.raises(TrainingError, match="row 1, rejected"):
        encode_pairs(read_pairs([pair("a", "yes", "no")]), make_tokenizer(ahead), 256)


def test_the_digest_tells_the_sides_apart(pair: Any, tokenizer: Any) -> None:
    pairs = [pair("a", "yes", "no")], [pair("a", "no", "yes")], [pair("a", "yes", "no")]
    one, swapped, again = (encode_pairs(read_pairs(rows), tokenizer, 256).digest() for rows in pairs)
    assert one == again != swapped


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rejected": None}, "row 1: 'rejected' must be a list"),
        ({"chosen": []}, "row 1: 'chosen' must be a list"),
        ({"chosen": [{"role": "user", "content": "x"}]}, "the chosen has a turn that is not the assistant's"),
        ({"rejected": [{"role": "assistant", "content": " "}]}, "the rejected is empty"),
        ({"prompt": "2 + 2?"}, "'prompt' must be a list"),
    ],
)
def test_what_is_no_pair_is_refused_by_name(change: dict[str, Any], said: str, pair: Any) -> None:
    with pytest.raises(InputError, match=said):
        read_pairs([pair("a", "yes", "no") | change])


def test_no_pairs() -> None:
    with pytest.raises(InputError, match="no pair to train on"):
        read_pairs([])


def test_pairs_are_read_from_a_folder_of_parquet(pair: Any, tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list([pair("a", "yes", "no", task_id="t")]).to_parquet(tmp_path / "train.parquet")
    row = read_pairs(tmp_path)[0]
    assert (row.name, row.chosen[0].content, row.rejected[0].content) == ("row 1 (task t)", "yes", "no")
