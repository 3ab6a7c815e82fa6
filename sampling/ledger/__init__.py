"""The record of every attempt and verdict of a run, on disk before anything depends on it."""

from stillroom.sampling.ledger.ledger import (
    FILE,
    VERSION,
    Ledger,
    Means,
    Recorded,
    Requested,
    Salvaged,
    Spent,
    SpentBy,
    StoredOutcome,
    Totals,
    request_key,
    scorer_key,
)

__all__ = [
    "FILE",
    "VERSION",
    "Ledger",
    "Means",
    "Recorded",
    "Requested",
    "Salvaged",
    "Spent",
    "SpentBy",
    "StoredOutcome",
    "Totals",
    "request_key",
    "scorer_key",
]
