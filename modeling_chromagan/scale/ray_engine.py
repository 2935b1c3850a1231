"""Shards by the workers of a Ray cluster: Ray carries the numbers of shards, and what became of their pictures.

What is done, and how often it was tried, stands in the manifests of the shards; Ray's own checkpoints are not used.
"""

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from ..archive.engine import MOST_TRIES, Done
from ..errors import SettingError, UserError, first_line
from .shards import ShardError, ShardWorker, Work
from .undisturbed import undisturbed

MOST_BLOCKS = 5_000  # Ray's driver remembers something of each: where there are more shards, a block has several
OBJECT_STORE = 100 << 20  # bytes


def run_on_ray(
    work: Work,
    indices: Sequence[int],
    *,
    address: str,
    workers: tuple[int, int],
    gpus_per_worker: float,
    worker: type = ShardWorker,
) -> Iterator[Done | ShardError]:
    """Works off shards by `workers` processes (at least, at most) as `shards.run_shards` does.

    Args:
        work, indices: what is done, its `load` pickled, and the shards.
        address: "local" starts Ray on this machine, "auto" finds the cluster of this machine; or HOST:PORT.
        workers, gpus_per_worker: each has one CPU core, and perhaps a part of a GPU; `worker` is what it runs.

    Raises:
        UserError: without Ray, without a cluster, or as `shards.run_shards`.
    """
    ray = start_ray(address)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a shard may take hours
    context.max_consecutive_actor_init_deaths = MOST_TRIES - 1
    try:
        blocks = min(len(indices), MOST_BLOCKS)
        # A task waits for whoever is free first, and not for one actor. What Ray does again after a worker's death,
        # and it does so without an end, is the shard; how often each picture was tried stands in its manifest.
        least, most = (min(number, blocks) for number in workers)
        actors = ray.data.ActorPoolStrategy(min_size=least, max_size=most, max_tasks_in_flight_per_actor=1)
        done = ray.data.from_items(list(indices), override_num_blocks=blocks).map_batches(
            worker, fn_constructor_args=(work,), batch_size=None, compute=actors, num_cpus=1, num_gpus=gpus_per_worker
        )
        for row in done.iter_rows():
            result = pickle.loads(row["done"])
            if isinstance(result, UserError):
                raise result
            yield from result
    except ray.exceptions.RayError as error:
        raise UserError(f"Ray gave up: {first_line(error)}; the same command again goes on") from error
    finally:
        ray.shutdown()


def start_ray(address: str) -> Any:
    """Ray, connected, without statistics to its makers, and without its messages beside ours."""
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"})
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SettingError('--engine ray needs Ray: pip install "chromagan[scale]"') from error
    for handler in (one for one in logging.getLogger("ray.data").handlers if isinstance(one, logging.StreamHandler)):
        handler.setLevel(logging.CRITICAL)
    ray._private.worker._worker_logs_enabled = False  # of workers that died: Ray has no public switch for them
    here: Any = {"include_dashboard": False, "object_store_memory": OBJECT_STORE} if address == "local" else {}
    try:
        with undisturbed():
            ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False, **here)
    except (OSError, RuntimeError, ValueError) as error:
        hint = " (of a cluster with a token: set RAY_AUTH_MODE=token)" if ":" in address else ""
        raise SettingError(f"--address {address}: {first_line(error)}{hint}") from error
    return ray


__all__ = ["run_on_ray"]
