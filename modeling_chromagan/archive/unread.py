"""What could not be listed, and so is no task: recorded, so that `status` and reports name it."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..durable_files import write_text
from ..errors import SettingError
from .manifest import SOFTWARE, UNREAD, Record, read_records
from .output_plan import MISSING, Failure


def record_unread(out: Path, failures: Iterable[Failure], inputs: Sequence[Path]) -> None:
    """Records what a run over `inputs` could not read, in place of what runs before could not read of the same ones.

    What was not there, as a name that was mistyped, is forgotten by the next run over whatever.

    Raises:
        SettingError: if it cannot be written.
    """
    path = out / UNREAD
    looked = [os.path.join(os.path.abspath(place), "") for place in inputs]
    try:
        before = [
            record
            for record in read_records(path)
            if record.reason != MISSING
            and not any(os.path.join(record.input, "").startswith(place) for place in looked)
        ]
        records = {record.key: record for record in (*before, *map(unread, failures))}
        if records or path.exists():
            write_text(path, lines_of(records.values()))
    except OSError as error:
        raise SettingError(f"{path} cannot be read or written: {error.strerror}") from error


def unread(failure: Failure) -> Record:
    """The record of a failure, under its whole path."""
    source = failure.source if "://" in failure.source else os.path.abspath(failure.source)
    return Record("", "unread", source, reason=failure.reason, software=SOFTWARE)


def lines_of(records: Iterable[Record]) -> str:
    """Records as a manifest has them."""
    return "".join(f"{record.to_line()}\n" for record in records)


__all__ = ["lines_of", "record_unread", "unread"]
