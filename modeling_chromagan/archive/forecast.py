"""What a run would do with its inputs, and why, without doing it: no model is loaded, and nothing is written."""

import json
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import printable
from ..picture_formats import FORMAT_OF_SUFFIX
from .engine import PICTURE_ERRORS, Run, describe
from .local_store import Source
from .manifest import Record
from .output_plan import Task, compare_name
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
        left_alone = is_left_alone(run, task, source)
    except PICTURE_ERRORS as error:
        reason = describe(error, str(task.source))
        return Forecast(task, "refused", reason_of(Record(task.name, "failed", str(task.source), reason=reason)))
    return Forecast(task, "already in color" if left_alone else "would colorize", decision.reason)


def is_left_alone(run: Run, task: Task, source: Source) -> bool:
    """Whether an input is left alone, every page of it being in color.

    Raises:
        ImageLoadError: where a page cannot be read.
        ImageSaveError: where one is larger than the result's format holds.
    """
    from ..image_saving import refuse_size  # here: they import torch
    from .scan import open_scan

    limit = run.settings.max_pixels or MOST_PIXELS
    with open_scan(source.content, name=str(task.source), max_pixels=limit) as scan:
        # All are read: the last one may be damaged.
        pages = [(page.image.gray.shape, page.colors is not None) for page in scan.pages()]
    if all(in_color for _, in_color in pages) and not run.settings.recolor:
        return True
    sizes = [(width, height, task.name) for (height, width), _ in pages]
    if run.compare:
        sizes.insert(0, (2 * sizes[0][0], sizes[0][1], compare_name(task.name)))
    output_format = FORMAT_OF_SUFFIX[PurePosixPath(task.name).suffix.lower()]
    for width, height, name in sizes:
        refuse_size(width, height, output_format, str(run.store.target(name)))
    return False


__all__ = ["Forecast", "foresee"]
