"""`chromagan convert`: a Keras file in, a model folder out."""

import argparse
import importlib.util
import os
from pathlib import Path

from ..errors import SettingError, UserError
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
    """Runs `chromagan convert` and returns its exit code."""
    check_usage(options.file, options.out)
    from safetensors import SafetensorError

    from ..keras_import.conversion import convert

    try:
        with only_own_output(quiet=False):
            generator, differences = convert(options.file, options.out, options.class_head, report=options.report)
    except MemoryError as error:
        raise UserError(f"{options.file}: too large for the memory that is free") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"-o {options.out} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    config = generator.config
    weights = sum(tensor.numel() for tensor in generator.state_dict().values() if tensor.ndim)  # no counters
    head = f"class head of {config.num_labels} classes" if config.class_head else "no class head"
    print(f"{options.out}: {weights:,} weights, {config.image_size} pixels, {head}")
    if differences is not None:
        print(differences)
    return 0


def check_usage(source: Path, folder: Path) -> None:
    """Raises SettingError if nothing can be converted here, found before any work."""
    if importlib.util.find_spec("h5py") is None:
        raise SettingError('h5py is missing; it comes with pip install "chromagan[convert]"')
    if not source.is_file():
        problem = "not a file" if source.exists() else "no such file"
        raise SettingError(f"{source}: {problem}; accepted: an HDF5 file with weights")
    if not os.access(source, os.R_OK):
        raise SettingError(f"{source}: cannot be read: permission denied")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) or folder.samefile(os.curdir)):
        raise SettingError(f"-o {folder} exists; accepted: a new folder, or an empty one that is not the current one")
    parent = next(parent for parent in folder.absolute().parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise SettingError(f"-o {folder} cannot be made in {parent}; accepted: a place that can be written")
