"""What a run would do with its inputs, and why, without doing it: no model is loaded, and nothing is written."""

import json
from dataclasses import dataclass

from ..errors import printable
from .engine import PICTURE_ERRORS, Run, describe
from .local_store import Source
from .manifest import Record
from .output_plan import Task
from .summary import reason_of

MOST_PIXELS = 200_000_000  # where the settings leave it to the model: what models usually say


@dataclass(frozen=True)
class Forecast:
    """What would become of a task: "would colorize", "kept", "already in color", "crashed" or "refused", and why."""

    task: Task
    status: str
    reason: str

    def __str__(self) -> str:
        return printable(f"{self.task.source} -> {self.task.name}: {self.status}: {self.reason}")

    def json_line(self) -> str:
        """One line of JSON, without its end; with the first keys of `json_lines`."""
        source, name = str(self.task.source), self.task.name
        return json.dumps({"input": source, "output": name, "status": self.status, "reason": self.reason})


def foresee(run: Run, task: Task) -> Forecast:
    """Decides as `Run.do` does, and reads what would be colorized to see whether that is possible and needed."""
    before = run.manifest.records.get(task.name)
    if before is not None and (crashed := run.crashed(before)) is not None:
        return Forecast(task, "crashed", crashed.reason)
    try:
        decision = run.decide(task, before, lambda: run.store.read(task.source).sha256)
        if not decision.work:
            left_alone = before is not None and before.status == "already in color"
            return Forecast(task, "already in color" if left_alone else "kept", decision.reason)
        source = run.store.read(task.source)
        run.refuse_taken(task, before, source.sha256)
        in_color = is_in_color(run, task, source)
    except PICTURE_ERRORS as error:
        reason = describe(error, str(task.source))
        return Forecast(task, "refused", reason_of(Record(task.name, "failed", str(task.source), reason=reason)))
    left_alone = in_color and not run.settings.recolor
    return Forecast(task, "already in color" if left_alone else "would colorize", decision.reason)


def is_in_color(run: Run, task: Task, source: Source) -> bool:
    """Whether every page of an input is in color; raises ImageLoadError where one cannot be read."""
    from .scan import open_scan  # here: it imports torch

    limit = run.settings.max_pixels or MOST_PIXELS
    with open_scan(source.content, name=str(task.source), max_pixels=limit) as scan:
        in_color = [page.colors is not None for page in scan.pages()]  # all are read: the last one may be damaged
    return all(in_color)


__all__ = ["Forecast", "foresee"]
