"""How many processes train, on what, with how many threads; said aloud, and refused where it would go wrong."""

import ctypes
import os
import platform

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType
from torch.utils.data import DataLoader

from ...errors import SettingError
from ...sources.models import usable_cores
from ..data.batches import BatchPlan
from ..recipe import Data, Recipe
from .interruption import leave_signals_to_the_parent

ACCEPTED_TYPES = {DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU}
MOST_DATA_WORKERS = 4  # what one of the fastest GPUs needs under the published recipe (benchmarks/imagenet_scale.py)
kept_groups: list[dist.ProcessGroup] = []


def make_accelerator(recipe: Recipe) -> Accelerator:
    """The accelerator of this process, with the thread count set and printed.

    Raises:
        SettingError: for a way of distribution under which the gradient penalty does not work.
    """
    # The batch statistics are global already (batch_norm.py), so there is nothing to send around before a forward. A
    # class head without a class loss in some phase gets no gradient there, which plain DDP would wait for.
    idle_head = any(not phase.objective.weights["class"] for phase in recipe.phases)
    accelerator = Accelerator(
        cpu=recipe.device == "cpu",
        gradient_accumulation_steps=recipe.accumulation,
        log_with=None if recipe.report_to == "none" else recipe.report_to,
        project_dir=recipe.folder,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=idle_head)],
    )
    if accelerator.distributed_type not in ACCEPTED_TYPES:
        raise SettingError(
            f"distribution is {accelerator.distributed_type.value}; accepted: one process, or DDP (the second "
            "derivative of the gradient penalty fails where parameters are sharded)"
        )
    if accelerator.num_processes > 1:
        keep_process_group()
    # accelerate's launcher sets one thread per process where nobody said otherwise.
    threads = recipe.threads or own_cores()
    torch.set_num_threads(threads)
    keep_freed_memory()
    if accelerator.is_main_process:
        count = accelerator.num_processes
        # The process to send a signal to: launchers do not pass them on.
        print(f"{count} process(es) on {accelerator.device}, {threads} threads each, pid {os.getpid()}", flush=True)
    return accelerator


def count_data_workers(settings: Data, device: torch.device, remote: bool) -> int:
    """Processes that read pictures for this one: the recipe's number, or what suits the device.

    None on a CPU, whose cores have the arithmetic to do. On a GPU one per core but the training's, up to four; one
    where a source is `remote`, as each of them reads every row group.
    """
    if settings.workers is not None:
        return settings.workers
    if device.type == "cpu":
        return 0
    return 1 if remote else min(MOST_DATA_WORKERS, max(1, own_cores() - 1))


def load_batches(plan: BatchPlan, done: int, settings: Data, device: torch.device) -> DataLoader:
    """The batches of a plan from step `done` on, read by as many data workers as `count_data_workers` says."""
    remote = any(source.remote for source in plan.photographs.values())
    return DataLoader(
        plan,
        batch_size=None,
        sampler=range(done, plan.steps),
        num_workers=count_data_workers(settings, device, remote),
        worker_init_fn=leave_signals_to_the_parent,
    )


def own_cores() -> int:
    """The cores of this machine that are this process' share, at least one."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def keep_process_group() -> None:
    """Keeps the process group until the interpreter ends, so that no DDP wrapper is the last to let go of it.

    A gloo group waits for its own thread when it ends, and that thread may need the interpreter to drop a tensor.
    Ended from Python the group lets the interpreter go meanwhile; ended with a wrapper it does not, and a busy machine
    sees a finished process hang for ever.
    """
    kept_groups.append(dist.group.WORLD)


def keep_freed_memory() -> None:
    """Has glibc keep what a step freed for the next one, which otherwise gets its activations anew, page by page."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(-4, 0)  # M_MMAP_MAX of malloc.h: large blocks, too, come from the heap,
        ctypes.CDLL(None).mallopt(-1, -1)  # M_TRIM_THRESHOLD: which never shrinks


def sum_over_processes(accelerator: Accelerator, counts: dict[str, int]) -> dict[str, int]:
    """Counts by name, the same names in every process, added up."""
    if accelerator.num_processes == 1:
        return counts
    values = torch.tensor(list(counts.values()), device=accelerator.device)
    return dict(zip(counts, accelerator.reduce(values, "sum").tolist(), strict=True))


def largest_over_processes(accelerator: Accelerator, value: int) -> int:
    """The largest of every process' numbers."""
    if accelerator.num_processes == 1:
        return value
    return int(accelerator.gather(torch.tensor([value], device=accelerator.device)).max())


__all__ = [
    "MOST_DATA_WORKERS",
    "count_data_workers",
    "keep_freed_memory",
    "largest_over_processes",
    "load_batches",
    "make_accelerator",
    "sum_over_processes",
]
