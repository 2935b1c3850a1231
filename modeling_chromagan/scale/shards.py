"""The worker of one shard of a plan: the same on this machine, in a Slurm array, in Hub Jobs and under Ray."""

import contextlib
import functools
import json
import os
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ..archive.engine import Done, Run
from ..archive.manifest import FOLDER, SHARDS
from ..archive.run_lock import lock_run, locked_file
from ..archive.run_settings import RunSettings
from ..errors import SettingError, UserError, first_line
from .plan import PlanError, count_shards, read_shard
from .store import RemoteStore, Store, open_store

if TYPE_CHECKING:
    from ..archive.colorizing import FileColorizer

SETTINGS = f"{FOLDER}/settings.json"
PATIENCE = 30.0  # seconds in which the worker of a run that was killed has ended too, and its lock with it


class ShardError(UserError):
    """A shard that is left out: another process works on it, or its records cannot be read."""


@dataclass(frozen=True)
class Work:
    """What a worker does with every shard; it can be pickled where `load` can.

    out: folder of the results, a path or a URL.
    settings: of the run.
    model, weights: what the model is called, and the SHA-256 of its files.
    load: makes the colorizer; raises UserError.
    threads: pictures at the same time.
    only_failed: whether only what failed or crashed before is done, once more.
    overwrite: whether results are made again whatever they are.
    """

    out: str
    settings: RunSettings
    model: str
    weights: str
    load: "Callable[[], FileColorizer]"
    threads: int = 1
    only_failed: bool = False
    overwrite: bool = False


def select_shards(out: str, share: str = "1/1") -> range:
    """The shards of the plan in `out` that are one's share: "I/N" is every N-th from the I-th on, I from 1 to N.

    Raises:
        SettingError: if there is no plan, or no such share.
    """
    numbers = re.fullmatch(r"(\d+)/(\d+)", share)
    if numbers is None or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise SettingError(f"--shards {share}; accepted: I/N, with I from 1 to N")
    return range(int(numbers[1]) - 1, count_shards(open_store(out)), int(numbers[2]))


def run_shards(work: Work, indices: Iterable[int]) -> Iterator[Done | ShardError]:
    """Works off shards one after the other in this process, with one model; those that cannot be are left out.

    Raises:
        UserError: if the model cannot be loaded, or the settings are not those with which the plan was begun.
    """
    work = replace(work, load=functools.cache(work.load))
    store = open_store(work.out)
    count_shards(store)  # before a folder is made that other machines do not see
    check_settings(store, work)
    with contextlib.nullcontext() if isinstance(store, RemoteStore) else lock_run(store.out, shared=True):
        for index in indices:
            try:
                yield from run_shard(store, work, index)
            except ShardError as error:
                yield error


def run_shard(store: Store, work: Work, index: int) -> Iterator[Done]:
    """Works off one shard, and says what became of each picture.

    Raises:
        ShardError: if another process is at it, or its records cannot be read.
        UserError: if the model cannot be loaded, or the settings are not those with which the plan was begun.
    """
    check_settings(store, work)
    name = f"{SHARDS}/{index:05}"
    with lock_shard(store, name):
        try:
            manifest, tasks = store.open_manifest(name), read_shard(store, index)
        except (OSError, PlanError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise ShardError(f"{store.path(f'{FOLDER}/{name}.jsonl')}: this shard cannot be read: {reason}") from error
        run = Run(
            store,
            manifest,
            work.settings,
            work.load,
            model=work.model,
            weights=work.weights,
            overwrite=work.overwrite,
            retry_crashed=work.only_failed,
        )
        if work.only_failed:
            tasks = [task for task in tasks if manifest.has_failed(task.name)]
        # What a process was at when it ended comes first and alone: if it ends this one too, it is known which it was.
        records = [manifest.records.get(task.name) for task in tasks]
        begun = {task for task, record in zip(tasks, records, strict=True) if record and record.status == "started"}
        yield from run.work_off([task for task in tasks if task in begun], 1)
        yield from run.work_off([task for task in tasks if task not in begun], work.threads)


class ShardWorker:
    """A process that has loaded the model once, and works off one shard after the other, as Ray Data calls it."""

    def __init__(self, work: Work):
        os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a worker has one core
        self.error: UserError | None = None
        try:
            colorizer = work.load()  # before any picture is begun: a model that ends the process is no picture's fault
        except UserError as error:  # a sentence, and not the death of the worker
            self.error = error
            return
        self.work = replace(work, load=lambda: colorizer)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """One row a shard: pickled, what became of its pictures, or the error of all."""
        return {"done": [pickle.dumps(self.run(int(index))) for index in batch["item"]]}

    def run(self, index: int) -> list[Done | ShardError] | UserError:
        """Works off one shard."""
        if self.error is not None:
            return self.error
        try:
            return list(run_shards(self.work, [index]))
        except UserError as error:
            return error


def check_settings(store: Store, work: Work) -> None:
    """Has the first run note its settings and weights, and refuses runs with others.

    Raises:
        SettingError: naming the setting, and both values.
    """
    ours = {"settings": work.settings.recorded(), "weights": work.weights, "model": work.model}
    try:
        first = json.loads(keep_first(store, SETTINGS, json.dumps(ours, indent=1).encode()))
        theirs, weights = dict(first["settings"]), str(first["weights"])
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise SettingError(f"{store.path(SETTINGS)} cannot be read or written: {reason}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise SettingError(f"{store.path(SETTINGS)} was not written by a run; remove it") from error
    accepted = "accepted: the same, or another OUT"
    if weights != work.weights:
        raise SettingError(
            f"{store.path('')} was begun with weights {weights[:12]} ({first.get('model')}), and these are "
            f"{work.weights[:12]} ({work.model}); {accepted}"
        )
    ours, default = json.loads(json.dumps(ours["settings"])), asdict(RunSettings())
    for name in sorted({*ours, *theirs}):
        values = [settings.get(name, default.get(name)) for settings in (theirs, ours)]
        if values[0] != values[1]:
            option = name.replace("_", "-")
            raise SettingError(f"{store.path('')} was begun with {option} {values[0]}, not {values[1]}; {accepted}")


def keep_first(store: Store, name: str, data: bytes) -> bytes:
    """What the file `name` holds: `data` if nobody wrote it before; raises OSError."""
    if isinstance(store, RemoteStore):
        with contextlib.suppress(FileNotFoundError):
            return store.get(name)
        try:
            store.put(name, data, mode="create")
        except OSError:  # another was first, or a server that has no such condition
            with contextlib.suppress(FileNotFoundError):
                return store.get(name)
            store.put(name, data)
        return store.get(name)
    path = store.out / name

    def busy() -> SettingError:
        return SettingError(f"{path}: another process does not give it back")

    with locked_file(path, busy, patience=PATIENCE) as descriptor, open(descriptor, "r+b", closefd=False) as file:
        before = file.read()
        if before.endswith(b"}"):
            return before
        file.seek(0)  # nobody, or one that was cut off
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(descriptor)
    return data


def lock_shard(store: Store, name: str) -> AbstractContextManager:
    """Inside it no other process of this file system works on the shard whose manifest is `name`.

    Object stores have no locks: there, two processes both do the work, with the same results, and the records of both
    stay.

    Raises:
        ShardError: on entering, if another process is at it.
    """
    if isinstance(store, RemoteStore):
        return contextlib.nullcontext()
    path = store.manifest(name)
    busy = functools.partial(ShardError, f"{path}: another process works on this shard, which is left to it")
    return locked_file(path, busy, patience=PATIENCE)


__all__ = ["ShardError", "ShardWorker", "Work", "check_settings", "run_shard", "run_shards", "select_shards"]
