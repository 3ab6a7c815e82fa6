"""Rows of a file, whatever its format: JSON Lines, a JSON array, CSV or TSV, Parquet, Arrow, also compressed.

The format is read off the content; the name decides only where the content does not. Each row comes with its place,
one at a time, so the size of a file does not matter. A row that cannot be read is a `Fault` in the stream, so that a
caller may name all of them at once or count and skip them. A file that cannot be read at all is an InputError.

Only a line feed ends a line: U+2028 within a text is part of it.

    for file in files_of(Path("answers-*.jsonl.zst"), "teacher.path"):
        for row in rows_of(file):
            row.place, row.values        # "answers-1.jsonl.zst:17", {"question": …} or Fault("json", …)
"""

from stillroom.common.row_files.find import files_of, near_names
from stillroom.common.row_files.read import digest_of, rows_of
from stillroom.common.row_files.records import Fault, FileRow, kind_of, plain

__all__ = ["Fault", "FileRow", "digest_of", "files_of", "kind_of", "near_names", "plain", "rows_of"]
