"""How much of their wording two texts share: Jaccard similarity of their word triples.

MinHash and LSH (Broder 1997; datasketch) find what may be similar among many, the exact similarity decides: chance
never makes two texts similar, and with the fixed seed of the hashes the outcome is the same on every machine. Numbers
count as words. Scripts without spaces are taken character by character.

>>> jaccard(shingles("Write a short poem on rain."), shingles("write a short poem on snow"))
0.6
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, NamedTuple

from stillroom.common.text import tokens
from stillroom.errors import MissingExtra

PERMUTATIONS = 128
SHINGLE = 3
MISSED = 0.001
"""Share of the pairs just at the limit that may be missed."""
MAX_WORDS = 20_000
"""Words that are compared: an endless text must not fill the memory."""
SEED = 1
# Thai to Myanmar, Khmer, kana, CJK ideographs: written without spaces between words.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class Near(NamedTuple):
    """A text that was found: its key, and its similarity from 0 to 1."""

    key: Hashable
    similarity: float


def shingles(text: str) -> frozenset[str]:
    """The word triples of a text; of a text with fewer words, all of it."""
    words: list[str] = []
    for token in tokens(text)[:MAX_WORDS]:
        words += token if _UNSPACED.search(token) else [token]
    del words[MAX_WORDS:]
    return frozenset(" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1)))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Share of the shingles of both that are in each, from 0 to 1."""
    return len(a & b) / len(a | b)


class NearIndex:
    """Texts by key, to find the most similar one of another text."""

    def __init__(self, threshold: float) -> None:
        """`threshold`: the least similarity that is found, above 0. Raises MissingExtra without datasketch."""
        self._module = datasketch("finding similar texts")
        self._threshold = threshold
        self._lsh = self._module.MinHashLSH(num_perm=PERMUTATIONS, params=bands(threshold))
        self._sets: list[tuple[Hashable, frozenset[str]]] = []

    def add(self, key: Hashable, text: str) -> None:
        """Puts a text in."""
        found = shingles(text)
        self._lsh.insert(len(self._sets), self._sketch(found))
        self._sets.append((key, found))

    def find(self, text: str) -> Near | None:
        """The most similar text at or above the threshold, the first put in of equals; None where there is none."""
        asked = shingles(text)
        numbers = sorted(self._lsh.query(self._sketch(asked)))
        near = [Near(self._sets[number][0], jaccard(asked, self._sets[number][1])) for number in numbers]
        best = max(near, key=lambda each: each.similarity, default=None)
        return best if best is not None and best.similarity >= self._threshold else None

    def _sketch(self, found: frozenset[str]) -> Any:
        sketch = self._module.MinHash(num_perm=PERMUTATIONS, seed=SEED)
        sketch.update_batch([shingle.encode("utf-8", "replace") for shingle in sorted(found)])
        return sketch


def bands(threshold: float) -> tuple[int, int]:
    """Bands and rows of the LSH: as many rows as still miss at most `MISSED` of the pairs at the threshold.

    A pair of similarity s is missed with probability (1 - s^rows)^bands (Leskovec, Rajaraman and Ullman, Mining of
    Massive Datasets, chapter 3). The library's own choice balances misses against false candidates; here a false
    candidate costs time only.
    """
    for rows in range(PERMUTATIONS // 4, 1, -1):
        count = PERMUTATIONS // rows
        if (1 - threshold**rows) ** count <= MISSED:
            return count, rows
    return PERMUTATIONS, 1


def datasketch(needed_for: str) -> Any:
    """The library, loaded when used. Raises MissingExtra, which says what it is needed for."""
    try:
        import datasketch as module
    except ImportError as error:
        raise MissingExtra(needed_for, "datasketch", "train") from error
    return module
