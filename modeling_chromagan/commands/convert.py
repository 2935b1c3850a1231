"""`chromagan convert`: a Keras file in, a model folder out."""

import argparse
import os
import sys
from pathlib import Path

from safetensors import SafetensorError

from ..errors import one_line
from ..keras_import.conversion import convert
from ..keras_import.file import ConversionError
from .messages import only_own_output


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `chromagan convert` its arguments."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="HDF5 file with the weights, such as my_model_colorization.h5")
    add("-o", "--out", type=Path, required=True, metavar="FOLDER", help="model folder to write; new, or empty")
    add(
        "--class-head",
        action=argparse.BooleanOptionalAction,
        help="demand the class head, or leave it out: colors do not depend on it, and it is three quarters of the "
        "weights (default: as in the file)",
    )
    add(
        "--report",
        action="store_true",
        help="run what was written and the file's own tensors on a random picture and print the largest differences",
    )


def run_convert(options: argparse.Namespace) -> int:
    """Runs `chromagan convert` with parsed arguments; returns the exit code, as the other commands do."""
    problem = usage_problem(options.file, options.out)
    if problem:
        return fail(problem, 2)
    try:
        with only_own_output(quiet=False):
            generator, differences = convert(options.file, options.out, options.class_head, report=options.report)
    except ConversionError as error:
        return fail(error, 1)
    except MemoryError:
        return fail(f"{options.file}: too large for the memory that is free", 1)
    except (OSError, SafetensorError) as error:
        return fail(f"-o {options.out} cannot be written: {getattr(error, 'strerror', None) or error}", 1)
    config = generator.config
    weights = sum(tensor.numel() for tensor in generator.state_dict().values() if tensor.ndim)  # no counters
    head = f"class head of {config.num_labels} classes" if config.class_head else "no class head"
    print(f"{options.out}: {weights:,} weights, {config.image_size} pixels, {head}")
    if differences is not None:
        print(differences)
    return 0


def usage_problem(source: Path, folder: Path) -> str | None:
    """Why nothing can be converted here, found before any work; `None` if nothing speaks against it."""
    try:
        import h5py  # noqa: F401
    except ImportError:
        return 'h5py is missing; it comes with pip install "chromagan[convert]"'
    if not source.is_file():
        return f"{source}: {'not a file' if source.exists() else 'no such file'}; accepted: an HDF5 file with weights"
    if not os.access(source, os.R_OK):
        return f"{source}: cannot be read: permission denied"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) or folder.samefile(os.curdir)):
        return f"-o {folder} exists; accepted: a new folder, or an empty one that is not the current one"
    parent = next(parent for parent in folder.absolute().parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        return f"-o {folder} cannot be made in {parent}; accepted: a place that can be written"
    return None


def fail(reason: object, code: int) -> int:
    """Prints the one line of an error to stderr and returns `code`."""
    print(f"chromagan convert: error: {one_line(reason)}", file=sys.stderr)
    return code
