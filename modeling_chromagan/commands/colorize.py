"""`chromagan colorize`: pictures and folders in, color pictures out.

The model is loaded, and numpy, Pillow and torch are imported, only once the arguments and every output's name were
checked, and only if there is something left to do.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..archive.output_plan import Task, compare_name, make_plan
from ..errors import SettingError, UserError, first_line
from ..picture_formats import OUTPUT_FORMATS
from ..processor_settings import CHOICES, RANGES
from ..sources.models import FLOAT16_ON_CPU, find_model, load_colorizer
from .arguments import DEVICES, device_name, number, whole_number
from .messages import Report, only_own_output

if TYPE_CHECKING:
    from PIL import Image

    from ..image_loading import LoadedImage
    from ..pipeline_chromagan import ChromaGANPipeline

DTYPES = ("auto", "float32", "bfloat16", "float16")

# What a picture can do wrong: unreadable, unwritable, too small, too large for the memory of the machine or the GPU
# (torch raises RuntimeError). Anything else is a mistake of this program and keeps its traceback.
PICTURE_ERRORS = (OSError, ValueError, MemoryError, RuntimeError)


def add_colorize_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `chromagan colorize`."""
    parser.description = (
        "Turns pictures, and all pictures in folders, into color pictures of the same size. Each output keeps the "
        "luminance of its input; only the colors are invented."
    )
    parser.epilog = (
        "Hidden files and folders inside a folder are skipped, and so is OUT. Exit code: 0 all done, 1 something "
        "failed (named on stderr, everything else is finished), 2 wrong usage, 130 interrupted."
    )
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="INPUT", help="a picture, or a folder with pictures at any depth")
    add("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the results; made if it is missing")
    add(
        "--format",
        choices=OUTPUT_FORMATS,
        help="format of the results (default: the input's own if it is one of these, else png); every gray value "
        "survives in png, tiff and webp, which is written lossless",
    )
    add("--compare", action="store_true", help="also write NAME.compare.SUFFIX, before and after side by side")
    add("--overwrite", action="store_true", help="replace results that exist (default: they are kept)")
    add("--quiet", action="store_true", help="print errors only")
    add("--model", help="folder or Hub id (default: $CHROMAGAN_MODEL, else the weights that come with the package)")
    add(
        "--device",
        type=device_name,
        default="auto",
        help=f"{DEVICES} (default: auto, the best there is)",
    )
    add(
        "--dtype",
        choices=DTYPES,
        default="auto",
        help="precision of the network (default: auto, which is float32); float16 needs a GPU",
    )
    add(
        "--batch-size",
        type=whole_number(1),
        metavar="N",
        help="most pictures to hold and to send through the network at once (default: 1 on the CPU, 8 elsewhere)",
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
    if options.dtype == "float16" and options.device == "cpu":
        raise SettingError(FLOAT16_ON_CPU)
    model = find_model(options.model)
    plan = make_plan(options.inputs, options.out, options.format, options.compare)
    tasks = [task for task in plan.tasks if options.overwrite or not all(map(os.path.isfile, outputs(task, options)))]
    report = Report(options.quiet)
    for failure in plan.failures:
        report.fail(failure)
    if tasks:
        make_folder(options.out)
        with only_own_output(options.quiet), report.progress(len(tasks)):
            colorize_tasks(tasks, load_colorizer(model, options), options, report)
    report.summarize(kept=len(plan.tasks) - len(tasks), not_pictures=plan.not_pictures)
    return 1 if report.failed else 0


def make_folder(folder: Path) -> None:
    """Makes the folder for the results; a place that cannot be written is refused before the model is loaded."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"-o {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingError(f"-o {folder} cannot be written: permission denied")


def colorize_tasks(
    tasks: Sequence[Task], colorizer: "ChromaGANPipeline", options: argparse.Namespace, report: Report
) -> None:
    """Reads, colorizes and writes the pictures of `tasks`, holding one batch of them at a time."""
    batch_size = options.batch_size or (1 if colorizer.device.type == "cpu" else 8)
    items = ((task, str(task.source), str(task.source)) for task in tasks)
    for task, original, picture, error in colorizer.read_ahead(items, batch_size, batch_size, PICTURE_ERRORS):
        if error is not None:
            report.fail(describe(error, task.source))
        else:
            for note in original.notes:
                report.note(f"{task.source}: {note}")
            write_outputs(task, original, picture, options, report)
        del original, picture, error  # or they would live on while the next one is read


def write_outputs(
    task: Task, original: "LoadedImage", picture: "Image.Image", options: argparse.Namespace, report: Report
) -> None:
    """Writes those outputs of a task that are missing, or all."""
    from ..image_saving import save_image

    notes = ()
    target, *compare = outputs(task, options)
    try:
        if options.overwrite or not os.path.isfile(target):
            notes = save_image(picture, target)
        for path in compare:
            if options.overwrite or not os.path.isfile(path):
                save_image(side_by_side(original, picture), path)
    except PICTURE_ERRORS as error:
        report.fail(describe(error, task.source))
        return
    for note in notes:
        report.note(f"{target}: {note}")
    report.finish()


def outputs(task: Task, options: argparse.Namespace) -> list[Path]:
    """The result of a task, and its comparison if one is wanted."""
    return [options.out / name for name in (task.name, *([compare_name(task.name)] if options.compare else []))]


def describe(error: BaseException, source: Path | str) -> str:
    """An error as "NAME: reason"."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{source}: too large for the memory that is free"
    return f"{source}: {first_line(error)}"


def side_by_side(original: "LoadedImage", picture: "Image.Image") -> "Image.Image":
    """The original in 8-bit gray on the left, its colorization on the right."""
    from PIL import Image

    both = Image.new(picture.mode, (2 * picture.width, picture.height))
    both.paste(original.as_shown(picture.mode), (0, 0))
    both.paste(picture, (picture.width, 0))
    return both
