"""Similarity of texts: known values, and an index that misses nothing above its threshold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.common.similarity import MISSED, Near, NearIndex, bands, jaccard, shingles

pytest.importorskip("datasketch")

texts = st.lists(st.sampled_from(["red", "green", "blue", "black", "white"]), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("one two three four", "one two three four", 1.0),
        ("One, two; THREE four!", "one two three four", 1.0),
        ("one two three four", "one two three five", 1 / 3),
        ("one two three", "four five six", 0.0),
        ("one", "one", 1.0),
        ("one", "two", 0.0),
        ("", "", 1.0),
        ("3 + 4 is it", "3 + 5 is it", 0.0),
        ("我們今天去海邊散步", "我們今天去海邊跑步", 5 / 9),
    ],
)
def test_similarity(a: str, b: str, expected: float) -> None:
    assert jaccard(shingles(a), shingles(b)) == pytest.approx(expected)


@settings(deadline=None)
@given(texts, texts)
def test_similarity_is_symmetric_and_one_for_the_same(a: str, b: str) -> None:
    assert jaccard(shingles(a), shingles(b)) == jaccard(shingles(b), shingles(a))
    assert jaccard(shingles(a), shingles(a)) == 1.0


def test_an_endless_text_is_cut() -> None:
    assert len(shingles("word " * 50_000)) == 1
    assert len(shingles(" ".join(map(str, range(50_000))))) < 20_001
    assert len(shingles("".join(map(chr, range(0x4E00, 0x9000))) * 3)) < 20_001


@settings(deadline=None)
@given(st.lists(texts, max_size=8), texts)
def test_the_index_finds_the_most_similar(known: list[str], asked: str) -> None:
    index = NearIndex(0.5)
    for number, text in enumerate(known):
        index.add(number, text)
    similar = [jaccard(shingles(text), shingles(asked)) for text in known]
    found = index.find(asked)
    if found is not None:
        assert found == Near(similar.index(max(similar)), max(similar))
    else:
        # One in a thousand just at the threshold may be missed; what is the same never is.
        assert max(similar, default=0.0) < 1.0


def test_what_is_clearly_similar_is_found_and_what_is_not_is_not() -> None:
    index = NearIndex(0.8)
    words = [f"w{i}" for i in range(60)]
    index.add("a", " ".join(words))
    index.add("b", " ".join(f"v{i}" for i in range(60)))
    near = index.find(" ".join([*words[:-1], "other"]))
    assert near is not None
    assert (near.key, near.similarity > 0.9) == ("a", True)
    assert index.find(" ".join(words[:30])) is None


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.9, 0.99, 1.0])
def test_bands_miss_few(threshold: float) -> None:
    count, rows = bands(threshold)
    assert (1 - threshold**rows) ** count <= MISSED
    assert count * rows <= 128
