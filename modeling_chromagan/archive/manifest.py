"""The record of a run: one JSON line when a picture is begun and one when it is done, the last of each result counts.

A line is on the disk before its picture is touched, and after: whatever stops a run, the next one knows which results
are whole, which one was in the works, and how often it has been tried.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..durable_files import append_line
from ..errors import SettingError, UserError

FOLDER = ".chromagan"  # in the folder of the results; hidden, so that no run reads its pictures
SHARDS = "shards"  # in it, with the manifest of each shard of a plan
UNREAD = f"{FOLDER}/unread.jsonl"  # what runs without a plan could not read
UNREAD_OF_PLAN = f"{FOLDER}/{SHARDS}/unread.jsonl"

SOFTWARE = f"chromagan {__version__}"  # that writes records and results

STATUSES = ("started", "colorized", "already in color", "kept", "failed", "crashed", "unread")
MADE = ("colorized", "already in color")  # those that say what the input, the settings and the model were
PROBLEMS = ("failed", "crashed", "started", "unread")  # those that leave something to do


@dataclass(frozen=True)
class Output:
    """One file of a result: its name below the folder of the results, with slashes, and its SHA-256."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Record:
    """What became of one input.

    name: of the result below the folder of the results, by which records are told apart, with slashes; "" of what is
        "unread".
    status: one of `STATUSES`; "kept" where what lies under its name was made by no run, or edited after a failure,
        "unread" of a folder that could not be read, or an input that was not there.
    input, input_sha256: what was read.
    outputs: what was written, or stands from before: the result, further pages as files of their own, the comparison.
    kept: names of outputs that are not to be touched, while it is "started".
    reason: why it failed, on one line.
    notes: what the result does not carry, and what was assumed, one sentence each.
    settings: those that are not the default; `weights`: SHA-256 of the model's files; `model`: what they were called.
    pictures: pages or frames. seconds: that it took. tries: that were begun since the last end.
    software: name and version.
    """

    name: str
    status: str
    input: str
    input_sha256: str = ""
    outputs: tuple[Output, ...] = ()
    kept: tuple[str, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    model: str = ""
    pictures: int = 0
    seconds: float = 0.0
    tries: int = 0
    software: str = ""

    @property
    def key(self) -> str:
        """What tells it from the others of its manifest."""
        return self.name or self.input

    def to_line(self) -> str:
        """One line of JSON in ASCII, without its end: names that are no Unicode survive as lone surrogates."""
        return json.dumps({name: value for name, value in asdict(self).items() if value})

    @classmethod
    def from_line(cls, line: str | bytes) -> "Record":
        """Without what later versions add; raises ValueError, TypeError or AttributeError for a line that is none."""
        values = {name: value for name, value in json.loads(line).items() if name in cls.__dataclass_fields__}
        values["outputs"] = tuple(Output(**output) for output in values.get("outputs", ()))
        values |= {name: tuple(values.get(name, ())) for name in ("kept", "notes")}
        return cls(**{"name": "", **values})


class Manifest:
    """The records of one run or shard in a file of JSON lines; several threads may add to it.

    Raises SettingError if the file is there and cannot be read: without it, finished work would be done again.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.records = {record.name: record for record in read_records(path)}
        except OSError as error:
            raise SettingError(f"{path} cannot be read: {error.strerror}; accepted: another OUT") from error
        self._lock = threading.Lock()

    def add(self, record: Record) -> None:
        """Puts a record into memory and onto the disk.

        Raises:
            OSError: if it cannot be written; the manifest is then as it was.
            UserError: if it is gone, as where a drive was unmounted; what is written now would lie somewhere else.
        """
        with self._lock:
            if self.records and not self.path.exists():
                raise UserError(f"{self.path} is gone: was OUT removed or unmounted? Give the same command again")
            try:
                append_line(self.path, record.to_line())
            except OSError as error:
                raise OSError(error.errno, f"{self.path} cannot be written: {error.strerror}") from error
            self.records[record.name] = record

    def has_failed(self, name: str) -> bool:
        """Whether the last that is known of a result is that there is none, or that it was begun."""
        record = self.records.get(name)
        return record is not None and record.status in PROBLEMS


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, oldest first, without lines that were cut off; none where there is no file."""
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return
    with file:
        yield from parse_records(file)


def parse_records(lines: Iterable[bytes]) -> Iterator[Record]:
    """The records of lines of JSON, without those that were cut off."""
    for line in lines:
        try:
            record = Record.from_line(line)
        except (ValueError, TypeError, AttributeError):  # written while the power failed
            continue
        yield record


def read_all(out: Path) -> Iterator[Record]:
    """The last record of each result in the folder `out`: of runs without a plan, then shard by shard.

    As `merge_manifests` gives them.
    """
    paths = [out / FOLDER / "manifest.jsonl", out / UNREAD, *sorted((out / FOLDER / SHARDS).glob("*.jsonl"))]
    return merge_manifests(lambda: ({record.key: record for record in read_records(path)} for path in paths))


def merge_manifests(read: Callable[[], Iterable[dict[str, Record]]]) -> Iterator[Record]:
    """The records of several manifests, which `read` gives; those of files that were kept come last.

    One manifest is held at a time. A result that runs with and without a plan have both made comes twice; one that
    either of them made and the other kept comes once, as made.
    """
    kept: dict[str, Record] = {}
    for records in read():
        for record in records.values():
            if record.status == "kept":
                kept[record.name] = record
            else:
                yield record
    for records in read() if kept else ():
        for name in [name for name, record in records.items() if record.status in MADE]:
            kept.pop(name, None)
    yield from kept.values()


__all__ = [
    "FOLDER",
    "MADE",
    "PROBLEMS",
    "SHARDS",
    "SOFTWARE",
    "STATUSES",
    "UNREAD",
    "UNREAD_OF_PLAN",
    "Manifest",
    "Output",
    "Record",
    "merge_manifests",
    "parse_records",
    "read_all",
    "read_records",
]
