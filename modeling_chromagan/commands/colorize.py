"""`chromagan colorize`: pictures and folders in, color pictures out.

The model is loaded, and numpy, Pillow and torch are imported, only once the arguments and every output's name were
checked, and only if there is something left to do.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..archive.engine import PICTURE_ERRORS, Run, describe
from ..archive.forecast import foresee
from ..archive.local_store import STANDARD_STREAM, LocalStore, make_folder
from ..archive.manifest import FOLDER, Manifest, read_all
from ..archive.output_plan import Plan, Task, check_results, comparison_key, make_plan
from ..archive.pages import AlreadyInColorError
from ..archive.report import check_report, write_report
from ..archive.run_lock import lock_run
from ..archive.run_settings import DEEP_FORMATS, DEPTHS, METADATA, WORKING_SPACES, RunSettings
from ..archive.unread import record_unread
from ..errors import SettingError, UserError
from ..picture_formats import OUTPUT_FORMATS, output_name
from ..processor_settings import CHOICES, RANGES
from ..sources.models import (
    FLOAT16_ON_CPU,
    ModelSource,
    download_model,
    find_model,
    hash_model_files,
    load_colorizer,
    usable_cores,
)
from .arguments import DEVICES, device_name, number, whole_number, worker_range
from .messages import Report, only_own_output
from .planned import PLAN_OPTIONS, add_plan_options, run_planned

if TYPE_CHECKING:
    from ..archive.colorizing import FileColorizer
    from ..archive.pages import ColoredPage

DTYPES = ("auto", "float32", "bfloat16", "float16")


def add_colorize_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `chromagan colorize`."""
    parser.description = (
        "Turns pictures, and all pictures in folders, into color pictures of the same size. Each output keeps the "
        "luminance of its input, its pages, and what its file says; only the colors are invented. What was done is "
        "recorded in OUT/.chromagan: the same command again does what is missing or has changed, and nothing else."
    )
    parser.epilog = (
        "Hidden files and folders inside a folder are skipped, and so is OUT. Exit code: 0 all done, 1 something "
        "failed (named on stderr, everything else is finished), 2 wrong usage, 130 interrupted, 143 ended by SIGTERM."
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="*",
        type=Path,
        metavar="INPUT",
        help="a picture, a folder with pictures at any depth, or - for standard input",
    )
    add(
        "-o",
        "--out",
        type=Path,
        metavar="OUT",
        help="folder for the results, made if it is missing; or - for standard output",
    )
    add_result_arguments(parser.add_argument_group("results"))
    add_run_arguments(parser.add_argument_group("run"))
    add_network_arguments(parser.add_argument_group("network"))
    add_plan_options(parser.add_argument_group("many machines"))


def add_result_arguments(group: argparse._ArgumentGroup) -> None:
    """Adds what decides how results are written."""
    add = group.add_argument
    add(
        "--format",
        choices=OUTPUT_FORMATS,
        help="format of the results (default: the input's own if it is one of these, else png); every gray value "
        "survives in png, tiff, jp2 and webp, which are written lossless",
    )
    add(
        "--depth",
        choices=DEPTHS,
        default=RunSettings.depth,
        help=f"bits a channel (default: same, the input's, where the format holds them: {', '.join(DEEP_FORMATS)})",
    )
    add(
        "--profile",
        default=RunSettings.profile,
        metavar="SPACE",
        help=f"color space of the results: {', '.join(WORKING_SPACES)} (the input's), or an ICC file (default: srgb)",
    )
    add(
        "--metadata",
        choices=METADATA,
        default=RunSettings.metadata,
        help="what results carry of what their inputs say: all, resolution and profile, nothing (default: keep)",
    )
    add(
        "--no-provenance",
        dest="provenance",
        action="store_false",
        help="do not write into results that their colors are invented, and by what",
    )
    add(
        "--recolor",
        action="store_true",
        help="colorize what is in color already too (default: it is left alone, and counted)",
    )
    add("--compare", action="store_true", help="also write NAME.compare.SUFFIX, before and after side by side")


def add_run_arguments(group: argparse._ArgumentGroup) -> None:
    """Adds what decides which inputs are done, and what is said about it."""
    add = group.add_argument
    add("--overwrite", action="store_true", help="replace results, also those that somebody has edited")
    add("--retry-failed", action="store_true", help="do only what failed or crashed before")
    add("--dry-run", action="store_true", help="say what would become of each input, and why; nothing is written")
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="write a report of all results in OUT: FILE.csv, or FILE.html with small pictures before and after",
    )
    add("--json", action="store_true", help="print one line of JSON for each input, for other programs")
    add("--quiet", action="store_true", help="print errors only")
    add(
        "--workers",
        type=worker_range,
        metavar="N",
        help="pictures that are worked on at the same time (default: as many as there are cores); of Ray: "
        "its workers, N or MIN:MAX, of a core each",
    )


def add_network_arguments(group: argparse._ArgumentGroup) -> None:
    """Adds what decides which network runs, where, and what it sees."""
    add = group.add_argument
    add("--model", help="folder or Hub id (default: $CHROMAGAN_MODEL, else the weights that come with the package)")
    add("--device", type=device_name, default="auto", help=f"{DEVICES} (default: auto, the best there is)")
    add(
        "--dtype",
        choices=DTYPES,
        default=RunSettings.dtype,
        help="precision of the network (default: auto, which is float32); float16 needs a GPU",
    )
    add(
        "--working-size",
        type=whole_number(*RANGES["shortest_edge"]),
        metavar="PIXELS",
        help="short side of what the network sees (default: the model's)",
    )
    add(
        "--saturation",
        type=number(*RANGES["saturation"]),
        metavar="FACTOR",
        help="strength of the colors: 1 as predicted, 0 gray, up to 2 (default: the model's)",
    )
    add(
        "--borders",
        choices=CHOICES["borders"],
        help="auto: margins (film rebates, mounts, paper) stay neutral and unseen by the network; keep: they are "
        "picture (default: the model's)",
    )
    add(
        "--max-pixels",
        type=whole_number(*RANGES["max_pixels"]),
        metavar="N",
        help="refuse larger pictures before they are decoded (default: the model's, usually 200000000)",
    )


def run_colorize(options: argparse.Namespace) -> int:
    """Runs `chromagan colorize` and returns its exit code."""
    settings = settings_of(options)
    model = find_model(options.model)
    if options.plan is not None:
        return run_planned(options, settings, model)
    if options.out == STANDARD_STREAM:
        return colorize_to_standard_output(options, settings, model)
    store = LocalStore(options.out)
    files = [path for path in options.inputs if path != STANDARD_STREAM]
    plan = make_plan(files, options.out, options.format, options.compare)
    if STANDARD_STREAM in options.inputs:
        plan.tasks.append(Task(STANDARD_STREAM, store.receive(sys.stdin.buffer.read(), options.format)))
        check_results(plan.tasks, store.target, options.compare, comparison_key(options.out))
    report = Report(options.quiet, options.json)
    for failure in plan.failures:
        report.fail(str(failure))
    for note in plan.notes:
        report.note(note)
    if options.dry_run:
        run = make_run(options, settings, model, store)
        for task in tasks_of(plan, run, options):
            report.foretell(foresee(run, task))
    elif plan.tasks or os.path.isdir(options.out / FOLDER):
        make_folder(options.out)
        with lock_run(options.out), only_own_output(options.quiet):
            record_unread(options.out, plan.failures, () if options.retry_failed else files)
            run = make_run(options, settings, model, store)
            tasks = tasks_of(plan, run, options)
            with report.progress(len(tasks)):
                for done in run.work_off(tasks, options.workers[1] if options.workers else usable_cores()):
                    report.add(done)
    report.summarize(not_pictures=plan.not_pictures)
    if options.report is not None and not options.dry_run:
        write_report(read_all(options.out), options.report, options.out)
    return 1 if report.failed else 0


def make_run(options: argparse.Namespace, settings: RunSettings, model: ModelSource, store: LocalStore) -> Run:
    """The run that does as the options say; its model is loaded when the first picture needs it."""
    weights = hash_model_files(download_model(model))
    return Run(
        store,
        Manifest(store.manifest()),
        settings,
        lambda: make_colorizer(options, settings, model, weights),
        model=model.label,
        weights=weights,
        compare=options.compare,
        overwrite=options.overwrite,
        retry_crashed=options.retry_failed,
    )


def tasks_of(plan: Plan, run: Run, options: argparse.Namespace) -> list[Task]:
    """What of a plan is to be looked at."""
    if not options.retry_failed:
        return plan.tasks
    return [task for task in plan.tasks if run.manifest.has_failed(task.name)]


def settings_of(options: argparse.Namespace) -> RunSettings:
    """The settings that results depend on.

    Raises:
        SettingError: for those that do not go together.
    """
    if options.plan is None:
        if not options.inputs:
            raise SettingError("required: INPUT and -o/--out OUT, or --plan OUT (see chromagan colorize --help)")
        if options.out is None:
            raise SettingError("required: -o/--out OUT, a folder for the results, such as -o colorized")
        for name in PLAN_OPTIONS:
            if getattr(options, name) is not None:
                raise SettingError(f"--{name.replace('_', '-')} goes with --plan")
    if options.workers and options.workers[0] != options.workers[1] and options.engine != "ray":
        raise SettingError(f"--workers {options.workers[0]}:{options.workers[1]} goes with --engine ray; accepted: N")
    if options.dtype == "float16" and options.device == "cpu":
        raise SettingError(FLOAT16_ON_CPU)
    if options.depth == "16" and options.format is not None and options.format not in DEEP_FORMATS:
        raise SettingError(f"--depth 16 with --format {options.format}; accepted with it: {', '.join(DEEP_FORMATS)}")
    if options.profile not in WORKING_SPACES:
        from ..archive.working_spaces import find_working_space

        find_working_space(options.profile, b"")
    if options.report is not None:
        check_report(options.report)
    names = [name for name in RunSettings.__dataclass_fields__ if name != "output_format"]
    return RunSettings(options.format, **{name: getattr(options, name) for name in names})


def make_colorizer(
    options: argparse.Namespace, settings: RunSettings, model: ModelSource, weights: str
) -> "FileColorizer":
    """Loads the model, for files."""
    from ..archive.colorizing import FileColorizer

    return FileColorizer(load_colorizer(model, options), settings, model.label, weights)


def colorize_to_standard_output(options: argparse.Namespace, settings: RunSettings, model: ModelSource) -> int:
    """Writes the result of the one input to standard output, and nothing else there; leaves no record."""
    if len(options.inputs) != 1 or options.inputs[0].is_dir():
        raise SettingError("-o - takes one picture; accepted for several: a folder")
    for name in ("compare", "dry_run", "json", "report", "retry_failed"):
        if getattr(options, name):
            raise SettingError(f"--{name.replace('_', '-')} goes with a folder for the results, not with -o -")
    from ..archive.writing import Written, encode_pages

    store = LocalStore(Path())
    (source,) = options.inputs
    output = output_name(source.name, options.format)
    if source == STANDARD_STREAM:
        output = store.receive(sys.stdin.buffer.read(), options.format)
    encoded = []

    def write(pages: "Iterable[ColoredPage]", name: str, **how: Any) -> Written:
        encoded.append(encode_pages(pages, **how))
        return Written("", len(encoded[-1]), ())

    report = Report(options.quiet)
    with only_own_output(options.quiet):
        colorizer = make_colorizer(options, settings, model, hash_model_files(download_model(model)))
        try:
            result = colorizer.colorize(
                store.read(source), called=str(source), output=output, compare=False, keep=frozenset(), write=write
            )
        except AlreadyInColorError as error:
            raise UserError(f"{source}: is in color already; accepted: a gray picture, or --recolor") from error
        except PICTURE_ERRORS as error:
            raise UserError(describe(error, str(source))) from error
    if len(encoded) > 1:
        raise UserError(
            f"{source}: holds {len(encoded)} pictures; accepted with them: --format tiff, or a folder as OUT"
        )
    for note in result.notes:
        report.note(f"{source}: {note}")
    try:
        sys.stdout.buffer.write(encoded[0])
        sys.stdout.buffer.flush()
    except OSError as error:
        raise UserError(f"standard output: cannot be written: {error.strerror}") from error
    return 0
