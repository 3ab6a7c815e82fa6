"""A block of a cache: the entries of up to 64 rows as one Parquet file, named by the hash of its bytes.

    block = write_block({key: packed}, temperatures=(1.0, 2.0))
    block.name, block.data
    read_block(block.name, block.data)          # raises Damaged

The columns can be read by anything that reads Parquet: `key`, and for each position `counts`, the `ids` and `steps`
of its tokens, and `tail`, temperature by temperature (see `record`). The temperatures are in the file's metadata.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from stillroom.students.whitebox.cache.record import Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
MOST_ROWS, MOST_POSITIONS = 64, 16_384
"""Of a block: what a kill can cost."""
SUFFIX = ".parquet"
_DIGITS = 32


class Damaged(Exception):
    """The bytes are not those that were written, or not a block."""


class Block(NamedTuple):
    """A file: `name` holds the hash of `data`."""

    name: str
    data: bytes


class Read(NamedTuple):
    """What a file holds."""

    temperatures: tuple[float, ...]
    entries: dict[str, Packed]


def write_block(entries: Mapping[str, Packed], temperatures: tuple[float, ...]) -> Block:
    """The rows as a file."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = list(entries.values())
    bits = {packed.bits for packed in found}.pop()
    wide = max((int(packed.ids.max()) for packed in found if len(packed.ids)), default=0) > 65535
    columns: dict[str, list[NDArray[Any]]] = {
        "counts": [packed.counts for packed in found],
        "ids": [packed.ids.astype(np.uint32 if wide else np.uint16) for packed in found],
        "steps": [packed.steps.astype(np.uint8 if bits == 8 else np.uint16) for packed in found],
        "tail": [np.ascontiguousarray(packed.tail.T).ravel() for packed in found],
    }
    arrays = {
        name: pa.array(values, type=pa.list_(pa.from_numpy_dtype(values[0].dtype)))
        for name, values in columns.items()
    }
    table = pa.table({"key": pa.array(list(entries), type=pa.string()), **arrays})
    told = {"format": FORMAT, "bits": bits, "temperatures": list(temperatures)}
    table = table.replace_schema_metadata({"stillroom": json.dumps(told)})
    out = io.BytesIO()
    # Ids and steps repeat, and a dictionary packs them into fewer bits; of a tail, the upper bytes repeat alone.
    pq.write_table(
        table,
        out,
        compression="zstd",
        compression_level=9,
        use_dictionary=["counts.list.element", "ids.list.element", "steps.list.element"],
        column_encoding={"tail.list.element": "BYTE_STREAM_SPLIT"},
        write_statistics=False,
    )
    data = out.getvalue()
    return Block(_name(data), data)


def read_block(name: str, data: bytes) -> Read:
    """The rows in a file. Raises Damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if _name(data) != name:
        raise Damaged("its bytes are not those that were written")
    try:
        table = pq.read_table(io.BytesIO(data))
        told = json.loads(table.schema.metadata[b"stillroom"])
        if told["format"] != FORMAT:
            raise Damaged(f"it has format {told['format']!r}, and {FORMAT} is read here")
        temperatures, bits = tuple(float(t) for t in told["temperatures"]), int(told["bits"])
        parts = {name: _rows(table, name) for name in ("counts", "ids", "steps", "tail")}
        keys = table.column("key").to_pylist()
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise Damaged(f"it cannot be read: {error}") from None
    return Read(temperatures, dict(_checked(keys, parts, len(temperatures), bits)))


def _checked(
    keys: list[str], parts: Mapping[str, list[NDArray[Any]]], temperatures: int, bits: int
) -> list[tuple[str, Packed]]:
    found = []
    for key, counts, ids, steps, tail in zip(keys, *parts.values(), strict=True):
        kept = int(counts.sum())
        if len(ids) != kept or len(steps) != kept or len(tail) != len(counts) * temperatures or (counts == 0).any():
            raise Damaged("its columns are not of the same positions")
        found.append((key, Packed(counts, ids, steps, tail.reshape(temperatures, -1).T, bits)))
    return found


def _rows(table: Any, name: str) -> list[NDArray[Any]]:
    """A column's lists as arrays."""
    column = table.column(name).combine_chunks()
    values, ends = column.values.to_numpy(), column.offsets.to_numpy()
    return [values[start:end] for start, end in pairwise(ends)]


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS] + SUFFIX
