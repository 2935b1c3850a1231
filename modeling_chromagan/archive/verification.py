"""Whether results and inputs are still what was recorded, by their SHA-256."""

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ImageLoadError
from .local_store import LocalStore
from .manifest import Record

# What is found of a result, and of an input.
RESULT_STATES = ("whole", "edited", "gone", "unreadable")
INPUT_STATES = ("unchanged", "changed", "not found", "unreadable")


@dataclass(frozen=True)
class Finding:
    """What was found of the files of one record.

    results: names of outputs -> one of `RESULT_STATES`; empty where nobody looked.
    source: one of `INPUT_STATES`; "" where nobody looked, or no hash was recorded.
    """

    record: Record
    results: dict[str, str] = field(default_factory=dict)
    source: str = ""


def verify(record: Record, store: LocalStore) -> Finding:
    """Reads every result of a record, and its input where it can be found."""
    # What an earlier run made of an input that is in color now is no result of it, and may go.
    outputs = () if record.status == "already in color" else record.outputs
    results = {output.name: state_of_result(store, output.name, output.sha256) for output in outputs}
    return Finding(record, results, state_of_input(store, record))


def state_of_result(store: LocalStore, name: str, sha256: str) -> str:
    """One of `RESULT_STATES`."""
    try:
        if not store.is_file(name):
            return "gone"
        return "whole" if store.hash(name) == sha256 else "edited"
    except FileNotFoundError:
        return "gone"
    except OSError:
        return "unreadable"


def state_of_input(store: LocalStore, record: Record) -> str:
    """One of `INPUT_STATES`; "" where no hash was recorded."""
    if not record.input_sha256:
        return ""
    source = record.input if "://" in record.input else Path(record.input)
    try:
        return "unchanged" if store.read(source).sha256 == record.input_sha256 else "changed"
    except ImageLoadError as error:
        is_there = isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError)
        return "unreadable" if is_there else "not found"


__all__ = ["INPUT_STATES", "RESULT_STATES", "Finding", "verify"]
