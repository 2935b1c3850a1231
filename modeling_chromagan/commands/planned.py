"""`chromagan colorize --plan`: the shards of a plan, worked off here or by a Ray cluster."""

import argparse
import functools
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..archive.engine import Done
from ..archive.run_settings import WORKING_SPACES, RunSettings
from ..errors import SettingError, WeightsError, first_line
from ..sources.models import ModelSource, download_model, hash_model_files, load_colorizer, usable_cores
from .arguments import number
from .messages import Report, only_own_output

if TYPE_CHECKING:
    from ..archive.colorizing import FileColorizer
    from ..scale.shards import ShardError, Work

ENGINES = ("local", "ray")
PLAN_OPTIONS = ("shards", "engine", "address", "gpus_per_worker")

# What has no place beside --plan, and why.
ELSEWHERE = {
    "format": "chromagan plan takes it",
    "compare": "a plan has no names for comparisons",
    "dry_run": "chromagan status says what is left",
    "report": "chromagan status writes it",
}


def add_plan_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options that only a plan has."""
    add = group.add_argument
    add("--plan", metavar="OUT", help="work off what `chromagan plan -o OUT` planned; instead of INPUT and -o")
    add(
        "--shards",
        metavar="I/N",
        help="the I-th of N shares of the shards, for one of N processes on any machines (default: 1/1, all)",
    )
    add("--engine", choices=ENGINES, help="local, this process, or ray (default: local)")
    add(
        "--address",
        metavar="ADDRESS",
        help="of Ray: local starts it here, auto finds the cluster of this machine, or HOST:PORT (default: local)",
    )
    add(
        "--gpus-per-worker",
        type=number(0, 64),
        metavar="N",
        help="of Ray: GPUs of each worker, or the part of one, such as 0.125 (default: 0)",
    )


def run_planned(options: argparse.Namespace, settings: RunSettings, model: ModelSource) -> int:
    """Works off shards of a plan and returns the exit code."""
    check_plan_options(options)
    try:
        from ..scale.plan import count_pictures_of
        from ..scale.shards import ShardError, check_settings, select_shards
        from ..scale.store import open_store
    except ImportError as error:
        raise SettingError('--plan needs pyarrow and fsspec: pip install "chromagan[scale]"') from error
    work = make_work(options, settings, model)
    indices = select_shards(work.out, options.shards or "1/1")
    store = open_store(work.out)
    check_settings(store, work)
    report = Report(options.quiet, options.json)
    with only_own_output(options.quiet), report.progress(count_pictures_of(store, indices)):
        for done in work_off(options, work, indices):
            if isinstance(done, ShardError):
                report.fail(str(done))
            else:
                report.add(done)
    report.summarize(not_pictures=0)
    return 1 if report.failed else 0


def check_plan_options(options: argparse.Namespace) -> None:
    """Raises SettingError for options that do not go together."""
    if options.inputs or options.out is not None:
        raise SettingError("--plan names inputs and results by itself; accepted: no INPUT and no -o beside it")
    for name, reason in ELSEWHERE.items():
        if getattr(options, name):
            raise SettingError(f"--{name.replace('_', '-')} does not go with --plan: {reason}")
    if options.engine != "ray":
        for name in ("address", "gpus_per_worker"):
            if getattr(options, name) is not None:
                raise SettingError(f"--{name.replace('_', '-')} goes with --engine ray")
    elif options.address not in (None, "local", "auto"):
        check_address(options.address)


def check_address(address: str) -> None:
    """Raises SettingError where there is no cluster: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingError(f"--address {address}; accepted: local, auto, or HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise SettingError(f"--address {address}: there is no Ray cluster: {reason}") from error


def make_work(options: argparse.Namespace, settings: RunSettings, model: ModelSource) -> "Work":
    """What each worker does, wherever it is: paths are absolute."""
    from ..scale.shards import Work
    from ..scale.store import is_url

    if os.path.isdir(model.place):
        model = replace(model, place=os.path.abspath(model.place))
    if settings.profile not in WORKING_SPACES:
        settings = replace(settings, profile=os.path.abspath(settings.profile))
    weights = hash_model_files(download_model(model))
    return Work(
        options.plan if is_url(options.plan) else os.path.abspath(options.plan),
        settings,
        model.label,
        weights,
        functools.partial(load_for_shards, options, settings, model, weights),
        threads=1 if options.engine == "ray" else (options.workers or (1, usable_cores()))[1],
        only_failed=options.retry_failed,
        overwrite=options.overwrite,
    )


def work_off(options: argparse.Namespace, work: "Work", indices: range) -> "Iterator[Done | ShardError]":
    """What becomes of the pictures of shards, by the engine of the options."""
    from ..scale.shards import run_shards

    if options.engine != "ray":
        return run_shards(work, indices)
    from ..scale.ray_engine import run_on_ray

    return run_on_ray(
        work,
        indices,
        address=options.address or "local",
        workers=options.workers or (1, usable_cores()),
        gpus_per_worker=options.gpus_per_worker or 0,
    )


def load_for_shards(
    options: argparse.Namespace, settings: RunSettings, model: ModelSource, weights: str
) -> "FileColorizer":
    """Loads the model where a worker is.

    Raises:
        WeightsError: if the model is another one there.
        UserError: if it cannot be loaded.
    """
    from ..archive.colorizing import FileColorizer

    found = hash_model_files(download_model(model))
    if found != weights:
        raise WeightsError(
            f"{model.name} on {socket.gethostname()} has other weights: {found[:12]}, not {weights[:12]}"
        )
    return FileColorizer(load_colorizer(model, options), settings, model.label, weights)


__all__ = ["PLAN_OPTIONS", "add_plan_options", "run_planned"]
