"""Spellings of one word, and slips that may be another word."""

from __future__ import annotations

import pytest

from stillroom.common.records import State
from stillroom.traces.answers import check
from stillroom.traces.answers.spelling import american, is_slip

SAME = [
    ("Haemoglobin", "hemoglobin"), ("colour", "color"), ("behaviour", "behavior"), ("centre", "center"),
    ("kilometres", "kilometers"), ("theatre", "theater"), ("organisation", "organization"), ("realised", "realized"),
    ("analyse", "analyze"), ("travelled", "traveled"), ("modelling", "modeling"), ("oesophagus", "esophagus"),
    ("oestrogen", "estrogen"), ("leukaemia", "leukemia"), ("anaesthetic", "anesthetic"), ("manoeuvre", "maneuver"),
    ("fulfil", "fulfill"), ("skilful", "skillful"), ("defence", "defense"), ("catalogue", "catalog"),
    ("aluminium", "aluminum"), ("sulphur", "sulfur"), ("judgement", "judgment"), ("mould", "mold"), ("diarrhoea", "diarrhea"),
    ("the colour red", "the color red"), ("white-coloured paper", "white-colored paper"),
]  # fmt: skip
OTHERS = [
    ("poet", "pet"), ("canoe", "cane"), ("Michael", "Michel"), ("four", "for"), ("hour", "hor"), ("flour", "flor"),
    ("filled", "filed"), ("prise", "prize"), ("acre", "acer"), ("shoe", "she"), ("polled", "poled"), ("tour", "tor"),
    ("genre", "gener"), ("Joel", "Jel"), ("programmer", "program"),
]  # fmt: skip
SLIPS = [
    ("chlorophyll", "chlorophyl"), ("mitochondria", "mitochondira"), ("photosynthesis", "photosinthesis"),
    ("causal", "casual"), ("mammal", "mammals"),
]  # fmt: skip
NO_SLIPS = [
    ("ethane", "ethene"), ("nitrate", "nitrite"), ("symmetric", "asymmetric"), ("even", "ever"), ("convergent", "divergent"),
    ("increase", "decrease"), ("positive", "negative"), ("Sydney", "Canberra"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_spellings_of_one_word_are_equal(one: str, other: str) -> None:
    assert check(one, other).state is check(other, one).state is State.ACCEPTED


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_two_words_are_not_made_one(one: str, other: str) -> None:
    assert american(one.lower()) != american(other.lower())
    assert check(one, other).state is not State.ACCEPTED


@pytest.mark.parametrize(("one", "other"), SLIPS)
def test_a_slip_leaves_it_open(one: str, other: str) -> None:
    assert is_slip(one, other)
    assert is_slip(other, one)
    assert check(one, other).state is check(other, one).state is State.UNSCORED


@pytest.mark.parametrize(("one", "other"), NO_SLIPS)
def test_another_word_is_rejected(one: str, other: str) -> None:
    assert not is_slip(one.lower(), other.lower())
    assert check(one, other).state is State.REJECTED
