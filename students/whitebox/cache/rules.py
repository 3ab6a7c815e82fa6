"""What a cache keeps of each position, and for which temperatures: `cache:` of the method `distil`.

    CacheSettings(k=16)                      # the teacher's 16 likeliest tokens
    CacheSettings(mass=0.95, most=32)        # as many as hold 95 % of the probability, from 2 to 32
    CacheSettings(k=16, temperatures=[1, 2])

Log-probabilities are kept at T = 1. At another temperature the same tokens have the probabilities p^(1/T), up to one
number a position: the exact mass of all other tokens at that T, which only the whole distribution tells. So T is
declared when the teacher is asked; one that was not is refused. Above T = 2 most of the mass is outside of what is
kept (at T = 4 and k = 50 the gradient's cosine with the full one was .61), so those are refused from the start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from stillroom.common.hashing import digest
from stillroom.common.settings import Settings
from stillroom.errors import RecipeError

HOTTEST = 2.0
"""The highest temperature at which the likeliest tokens and one tail say enough."""
USUAL = (1.0, 2.0)
"""Kept in any case where the source can, so that trying the other one asks the teacher nothing."""
MOST_KEPT = 4096
"""Tokens of a position, at most."""

Kept = Annotated[float, Field(gt=0, le=HOTTEST)]


Temperatures = tuple[float, ...]


class Rule(NamedTuple):
    """Which of a position's tokens are kept: the `most` likeliest; with `mass`, only as many as reach it, but no
    fewer than `least`."""

    most: int
    least: int
    mass: float | None


class CacheSettings(Settings):
    """What is kept of the teacher's distribution."""

    k: int | None = Field(default=None, ge=1, le=MOST_KEPT)
    """The teacher's likeliest tokens, as many at every position; null: 16, or by `mass`."""
    mass: float | None = Field(default=None, gt=0, lt=1)
    """In the place of `k`: as many tokens as hold this share of the probability."""
    least: int = Field(default=2, ge=1, le=MOST_KEPT)
    """With `mass`: tokens at every position, at least."""
    most: int = Field(default=32, ge=1, le=MOST_KEPT)
    """With `mass`: tokens at any position, at most."""
    bits: Literal[8, 16] = 8
    """Of each log-probability."""
    temperatures: tuple[Kept, ...] | None = None
    """Temperatures that a training may ask for without asking the teacher again, 1 always among them; null: 1, 2, and
    those of the objectives, as far as the teacher can give them."""

    @field_validator("temperatures", mode="before")
    @classmethod
    def _hot(cls, value: Any) -> Any:
        hot = [t for t in value if isinstance(t, int | float) and t > HOTTEST] if isinstance(value, list) else []
        if hot:
            raise ValueError(too_hot(float(hot[0])))
        return value

    @model_validator(mode="after")
    def _one_rule(self) -> CacheSettings:
        if self.k is not None and self.mass is not None:
            raise ValueError(f"k is {self.k} and mass is {self.mass}: keep a fixed number of tokens, or a share")
        # A recipe that was written down names them with their defaults.
        own = {name for name in ("least", "most") if getattr(self, name) != type(self).model_fields[name].default}
        if self.mass is None and (extra := own & self.model_fields_set):
            raise ValueError(f"{' and '.join(sorted(extra))} say how many tokens may hold a share: set mass as well")
        if self.least > self.most:
            raise ValueError(f"least is {self.least} and most is {self.most}: no number of tokens is in between")
        return self

    @property
    def rule(self) -> Rule:
        """Which tokens are kept."""
        if self.mass is None:
            return Rule(self.k or 16, self.k or 16, None)
        return Rule(self.most, self.least, self.mass)


def too_hot(temperature: float) -> str:
    """Why a temperature cannot be served from a cache."""
    return (
        f"a cache serves temperatures up to {HOTTEST:g}, not {temperature:g}: there, most of the probability is "
        "outside of what is kept. Lower the temperature, or set `student.cache: false`, which asks the teacher at "
        "every step"
    )


def declared(asked: Iterable[float], given: Temperatures | None, can: Temperatures | None) -> Temperatures:
    """The temperatures to keep, in order. `asked`: those of the objectives; `given`: the recipe's; `can`: what the
    teacher can tell, None for any. Raises RecipeError for one that is asked for and cannot be had."""
    wanted = set(asked)
    if hot := sorted(t for t in wanted if t > HOTTEST):
        raise RecipeError(too_hot(hot[0]))
    if given is not None and (missing := sorted(wanted - {1.0, *given})):
        raise RecipeError(
            f"an objective has temperature {missing[0]:g}, which is not among `student.cache.temperatures` "
            f"({', '.join(f'{t:g}' for t in given)}): add it there"
        )
    if can is not None and (missing := sorted((wanted | set(given or ())) - set(can))):
        raise RecipeError(
            f"temperature {missing[0]:g} is asked for, and this teacher tells its distribution at "
            f"{', '.join(f'{t:g}' for t in can)} alone (servers compute no other for a prompt): set it to "
            f"{can[0]:g}, or take the teacher's weights (`student.teacher: folder or hub name`)"
        )
    usual = given if given is not None else USUAL
    return tuple(sorted({1.0, *wanted, *(t for t in usual if can is None or t in can)}))


class Signature(NamedTuple):
    """All that decides what is kept of a row but the row itself and the temperatures. `teacher`: the fingerprint of
    its weights, or a server's identity; `tokenizer`: the hash of its tokens; `dtype`: what it computes in."""

    teacher: str
    tokenizer: str
    dtype: str
    rule: Rule
    bits: int

    def key(self, ids: list[int], start: int) -> str:
        """Of a row as the teacher reads it: `ids` of prompt and answer, which begins at `start`. Task, split, filter
        and student are not in it: the same answer under the same prompt is the same entry."""
        return digest([self.teacher, self.tokenizer, self.dtype, list(self.rule), self.bits, start, ids])
