"""Lets a torchvision be imported whose compiled half does not load, as its wheels beside a CPU-only torch do not.

torchvision's Python half gives shape functions to two of its operators on import, and torch refuses that for operators
that nobody has declared. Declared they are enough for timm, which uses no operator of torchvision.

    python tests/torchvision_schemas.py train.py RECIPE ...     runs a script that way
    python tests/torchvision_schemas.py -m MODULE ...           runs a module that way
    CHROMAGAN_TORCHVISION_SCHEMAS=1 pytest ...                  runs the tests that way
"""

import os
import runpy
import sys

import torch

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
declared = []  # torch forgets the operators of a library that nobody holds


def declare_torchvision_operators() -> None:
    """Declares the operators once; has to come before the first import of torchvision."""
    if not declared:
        library = torch.library.Library("torchvision", "DEF")
        for schema in OPERATORS:
            library.define(schema)
        declared.append(library)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python tests/torchvision_schemas.py SCRIPT|-m MODULE [ARGUMENT ...]")
    declare_torchvision_operators()
    sys.argv = sys.argv[1:]
    if sys.argv[0] == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        sys.exit()
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))  # as where Python runs the script itself
    runpy.run_path(sys.argv[0], run_name="__main__")
