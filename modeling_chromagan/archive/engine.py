"""A run over many files: what is left to do is decided by content, done by several threads, and recorded.

Each thread takes a file through reading, network, composition and writing with one thread of torch: on two cores that
takes less time than sharing every operation, and the result does not depend on the number of cores.
"""

import contextlib
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import UserError, first_line
from .decision import Decision, decide
from .manifest import MADE, SOFTWARE, Manifest, Record
from .output_plan import Task
from .pages import AlreadyInColorError
from .run_settings import RunSettings

if TYPE_CHECKING:
    from .colorizing import FileColorizer
    from .local_store import LocalStore

# What a picture can do wrong: unreadable, unwritable, too small, too large for the memory of the machine or the GPU
# (torch raises RuntimeError). Anything else is a mistake of this program and keeps its traceback.
PICTURE_ERRORS = (OSError, ValueError, MemoryError, RuntimeError)
MOST_TRIES = 5  # of a file on which its process ends


class TakenError(UserError, ValueError):
    """A result that would replace that of another input."""


@dataclass(frozen=True)
class Done:
    """What became of one task: `record` is None where nothing was recorded of a result that is kept."""

    task: Task
    decision: Decision
    record: Record | None

    @property
    def status(self) -> str:
        """ "colorized", "kept", "already in color", "failed" or "crashed"."""
        if self.record is not None and self.record.status in ("failed", "crashed", "already in color"):
            return self.record.status
        return "colorized" if self.decision.work else "kept"


class Run:
    """One run over tasks: `settings` and what they are recorded as, the model, where results go."""

    def __init__(
        self,
        store: "LocalStore",
        manifest: Manifest,
        settings: RunSettings,
        load: "Callable[[], FileColorizer]",
        *,
        model: str,
        weights: str,
        compare: bool = False,
        overwrite: bool = False,
        retry_crashed: bool = False,
    ):
        self.store, self.manifest, self.settings = store, manifest, settings
        self.recorded = settings.recorded()
        self.model, self.weights = model, weights
        self.compare, self.overwrite, self.retry_crashed = compare, overwrite, retry_crashed
        self._loading = threading.Lock()
        self._load = functools.cache(load)

    def colorizer(self) -> "FileColorizer":
        """The model, loaded when the first file needs it."""
        with self._loading:
            return self._load()

    def work_off(self, tasks: Iterable[Task], workers: int) -> Iterator[Done]:
        """Does the tasks, several at a time; what became of them comes in their order.

        Raises:
            UserError: if the model cannot be loaded, or the manifest is gone. Files that cannot be read or written are
                records.
        """
        with ThreadPoolExecutor(workers) as pool:
            ahead: deque[Future[Done]] = deque()
            try:
                for task in tasks:
                    ahead.append(pool.submit(self.do, task))
                    if len(ahead) >= 2 * workers:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def do(self, task: Task) -> Done:
        """Does one task, if there is anything to do."""
        before = self.manifest.records.get(task.name)
        if before is not None and before.status == "started":
            self.store.clear(task.name)
        if before is not None and (crashed := self.crashed(before)) is not None:
            if before.status != "crashed":
                with contextlib.suppress(OSError):  # a full disk: the next run finds it so too
                    self.manifest.add(crashed)
            return Done(task, Decision(False, crashed.reason), crashed)
        began = time.perf_counter()
        read = functools.cache(lambda: self.store.read(task.source))
        record = Record(
            task.name,
            "started",
            str(task.source),
            outputs=before.outputs if before is not None else (),
            settings=self.recorded,
            weights=self.weights,
            model=self.model,
            software=SOFTWARE,
            tries=before.tries + 1 if before is not None and before.status == "started" else 1,
        )
        try:
            decision = self.decide(task, before, lambda: read().sha256)
            if not decision.work:
                if before is not None and before.status in (*MADE, "kept"):
                    return Done(task, decision, before)
                record = Record(task.name, "kept", record.input, outputs=record.outputs, software=SOFTWARE)
                return self.end(task, decision, record, "kept", reason=decision.reason)
            source = read()
            self.refuse_taken(task, before, source.sha256)
        except TakenError as error:  # the record is that of the other input
            return Done(task, Decision(False, ""), replace(record, status="failed", reason=str(error)))
        except PICTURE_ERRORS as error:
            return self.end(task, Decision(True, ""), record, "failed", reason=describe(error, str(task.source)))
        use_one_thread()  # of each thread, and only here: where nothing is left to do, torch is not imported
        colorizer = self.colorizer()
        record = replace(record, input_sha256=source.sha256, kept=tuple(sorted(decision.keep)))
        try:
            self.manifest.add(record)
            result = colorizer.colorize(
                source,
                called=str(task.source),
                output=task.name,
                compare=self.compare,
                keep=decision.keep,
                write=self.store.write,
            )
        except AlreadyInColorError:
            notes = tuple(
                f"{output.name}, of an earlier run, is left where it is; remove it if it is of no use"
                for output in record.outputs
                if self.store.is_file(output.name)
            )
            seconds = round(time.perf_counter() - began, 3)
            return self.end(task, decision, record, "already in color", notes=notes, seconds=seconds)
        except PICTURE_ERRORS as error:
            return self.end(task, decision, record, "failed", reason=describe(error, str(task.source)))
        except BaseException:  # an interruption, or a mistake of this program: no fault of the file
            with contextlib.suppress(OSError, UserError):
                self.manifest.add(replace(record, tries=record.tries - 1))
            raise
        outputs = {output.name: output for output in (*record.outputs, *result.outputs)}
        return self.end(
            task,
            decision,
            record,
            "colorized",
            outputs=tuple(outputs.values()),
            pictures=result.pictures,
            notes=result.notes,
            seconds=round(time.perf_counter() - began, 3),
        )

    def end(self, task: Task, decision: Decision, record: Record, status: str, **what: Any) -> Done:
        """Records what became of a task."""
        record = replace(record, status=status, kept=(), tries=0, **what)
        try:
            self.manifest.add(record)
        except OSError as error:  # the next run finds it begun, and does it again
            record = replace(record, status="failed", reason=describe(error, str(task.source)))
        return Done(task, decision, record)

    def decide(self, task: Task, before: Record | None, input_sha256: Callable[[], str]) -> Decision:
        """What is to be done with a task; raises ImageLoadError where its input has to be read and cannot be."""
        return decide(
            task.name,
            before,
            input_sha256=input_sha256,
            settings=self.recorded,
            weights=self.weights,
            compare=self.compare,
            overwrite=self.overwrite,
            is_file=self.store.is_file,
            hash_of=self.store.hash,
        )

    def refuse_taken(self, task: Task, before: Record | None, input_sha256: str) -> None:
        """Raises TakenError where the result of another input, which is still there, would be replaced."""
        if self.overwrite or before is None or not before.outputs or before.input_sha256 == input_sha256:
            return
        other = before.input != str(task.source) and os.path.exists(before.input)
        if other and not (os.path.exists(task.source) and os.path.samefile(before.input, task.source)):
            raise TakenError(
                f"{task.source}: {self.store.target(task.name)} is the result of {before.input}, which is still "
                "there; choose another OUT, or --overwrite"
            )

    def crashed(self, before: Record) -> Record | None:
        """The record of a file at which the program ended too often, and is not tried again; else None."""
        if self.retry_crashed or (before.status != "crashed" and before.tries < MOST_TRIES):
            return None
        return replace(before, status="crashed", reason=f"the program ended {before.tries} times while at it")


def describe(error: BaseException, source: str) -> str:
    """An error as "NAME: reason"."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{source}: too large for the memory that is free"
    return f"{source}: {getattr(error, 'strerror', None) or first_line(error)}"


def use_one_thread() -> None:
    """Has torch compute with the calling thread alone, whenever that computes."""
    import torch

    torch.set_num_threads(1)


__all__ = ["PICTURE_ERRORS", "Done", "Run", "describe", "use_one_thread"]
