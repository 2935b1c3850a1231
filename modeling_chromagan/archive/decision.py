"""What a run does with an input: its result is made, or kept as it is, and why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .manifest import MADE, Record
from .output_plan import compare_name


@dataclass(frozen=True)
class Decision:
    """Whether there is anything to do, why, and which outputs stay as they are.

    remark: what the user should know of an output that is kept although its making would be due.
    """

    work: bool
    reason: str
    keep: frozenset[str] = frozenset()
    remark: str = ""


def decide(
    name: str,
    record: Record | None,
    *,
    input_sha256: Callable[[], str],
    settings: Mapping[str, Any],
    weights: str,
    compare: bool,
    overwrite: bool,
    is_file: Callable[[str], bool],
    hash_of: Callable[[str], str],
) -> Decision:
    """Decides by what was recorded of the result `name`, and by what lies there now.

    Args:
        name: of the result.
        record: the last of this result; None if there is none.
        input_sha256: of the input as it is now; called only where it matters.
        settings, weights: of this run, as records state them.
        compare: whether a comparison is wanted too.
        overwrite: whether outputs are made again whatever they are.
        is_file: whether an output is there.
        hash_of: SHA-256 of an output that is there.
    """
    if overwrite:
        return Decision(True, "results are overwritten")
    if record is not None and record.status == "started":
        return Decision(True, "the run before was cut off", frozenset(record.kept))
    made = {output.name: output.sha256 for output in record.outputs} if record is not None else {}
    planned = [name, *([compare_name(name)] if compare else [])]
    outputs = dict.fromkeys([*planned, *(output for output in made if output != compare_name(name))])
    there = frozenset(output for output in outputs if is_file(output))
    changes = []
    if record is None or record.status not in MADE:
        changes.append("new" if record is None else f"{record.status} before")
        if not made:  # what is there is none of ours
            work = there != outputs.keys()
            return Decision(work, changes[0] if work else "was there before", there)
    else:
        differences = {
            "its content has changed": record.input_sha256 != input_sha256(),
            "settings have changed": record.settings != settings,
            "the model has changed": record.weights != weights,
        }
        changes += [reason for reason, changed in differences.items() if changed]
    if record is not None and record.status == "already in color" and not changes:
        return Decision(False, "already in color")
    edited = frozenset(output for output in there if output not in made or hash_of(output) != made[output])
    keep = edited if changes else there
    remark = f"the result {min(edited)} was edited since it was made, and is kept" if edited and changes else ""
    if missing := [output for output in outputs if output not in keep]:
        return Decision(True, changes[0] if changes else f"{missing[0]} is gone", keep, remark)
    return Decision(False, "was edited since it was made" if edited else "same as before", keep, remark)


__all__ = ["Decision", "decide"]
