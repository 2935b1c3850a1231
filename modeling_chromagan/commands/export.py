"""`chromagan export`: a model in, an ONNX file out."""

import argparse
from pathlib import Path

from ..sources.models import find_model
from .colorize import make_folder
from .messages import only_own_output


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `chromagan export` its arguments."""
    parser.description = (
        "Writes a generator as an ONNX file, which other programs run without this package: gray values in, CIE Lab "
        "chroma out."
    )
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        metavar="MODEL",
        help="folder or Hub id (default: $CHROMAGAN_MODEL, else the weights that come with the package)",
    )
    add("-o", "--out", type=Path, required=True, metavar="FOLDER", help="folder for the file; made if it is missing")
    add("--float16", action="store_true", help="half the bytes: model_fp16.onnx instead of model.onnx")


def run_export(options: argparse.Namespace) -> int:
    """Runs `chromagan export` and returns its exit code."""
    from ..publishing.onnx_export import check_extra, export_graphs

    check_extra()
    model = find_model(options.model, option_name="")
    make_folder(options.out)
    with only_own_output(quiet=False):
        (graph,) = export_graphs(model, options.out, ["float16" if options.float16 else "float32"])
    size = graph.path.stat().st_size / 1e6
    print(f"{graph.path}: {size:.1f} MB, {graph.precision}, {graph.difference:.2g} Lab units from PyTorch at most")
    return 0
