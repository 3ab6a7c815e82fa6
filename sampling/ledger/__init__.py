"""The record of every attempt and verdict of a run, on disk before anything depends on it."""

from stillroom.sampling.ledger.file import FILE
from stillroom.sampling.ledger.ledger import READS_METADATA, Ledger, request_key, scorer_key
from stillroom.sampling.ledger.salvage import Salvaged
from stillroom.sampling.ledger.schema import (
    VERSION,
    Means,
    Recorded,
    Requested,
    Spent,
    SpentBy,
    StoredOutcome,
    Totals,
)

__all__ = [
    "FILE",
    "READS_METADATA",
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
