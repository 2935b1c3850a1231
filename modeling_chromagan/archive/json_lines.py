"""What became of a file, as one line of JSON for other programs.

Every line has all of these keys, and further ones may be added:

input: what was read, as it was named; "" where something was named that is not there: `reason` says it.
output: the result's name below the folder of the results, with slashes.
status: "colorized", "kept", "already in color", "failed" or "crashed".
reason: why it failed; of the others, why it was made or kept.
input_sha256: of the input when it was read; "" where it was not.
outputs: {"name", "sha256"} of every file of the result; empty where nothing was recorded of it.
pictures: pages or frames. notes: what the result does not carry, and what was assumed. seconds: that it took now.

Lines are ASCII; in a name that is no UTF-8 each foreign byte stands as a surrogate from "\\udc80" to "\\udcff".
"""

import json
from dataclasses import asdict, replace

from .engine import Done
from .manifest import Record


def json_line(done: Done) -> str:
    """What became of a task, on one line without its end."""
    record = done.record or Record(done.task.name, "", str(done.task.source))
    record = replace(
        record,
        input=str(done.task.source),
        status=done.status,
        reason=record.reason or done.decision.reason,
        notes=(*([done.decision.remark] if done.decision.remark else []), *record.notes),
        seconds=record.seconds if done.decision.work else 0.0,
    )
    return _line(record)


def failure_line(reason: str) -> str:
    """The line of something that was named and is no file to work on: without an input and an output."""
    return _line(Record("", "failed", "", reason=reason))


def _line(record: Record) -> str:
    return json.dumps(
        {
            "input": record.input,
            "output": record.name,
            "status": record.status,
            "reason": record.reason,
            "input_sha256": record.input_sha256,
            "outputs": [asdict(output) for output in record.outputs],
            "pictures": record.pictures,
            "notes": record.notes,
            "seconds": record.seconds,
        }
    )


__all__ = ["failure_line", "json_line"]
