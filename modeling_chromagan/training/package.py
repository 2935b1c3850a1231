"""Turns a run's model into the weights that come with the package.

    python -m modeling_chromagan.training.package runs/chromagan_tiny/model modeling_chromagan/pretrained

Generator, critic and image processor in half precision, without copies of the code, which the package has already.
"""

import argparse
import contextlib
import sys
from pathlib import Path

import torch

from ..configuration_chromagan import ChromaGANConfig
from ..image_processing_chromagan import ChromaGANImageProcessor
from ..modeling_chromagan import ChromaGANCritic, ChromaGANGenerator


def package(source: Path, target: Path, working_size: int | None = None) -> None:
    """Writes the models of one `from_pretrained` folder into another in float16; other files there stay.

    Args:
        source: folder with generator and image processor, and perhaps a critic in `critic`.
        target: made if it is missing.
        working_size: of the image processor; `None` keeps the source's.

    Raises:
        OSError: if the source holds no model.
        ValueError: for a working size that the image processor refuses.
    """
    settings = {} if working_size is None else {"working_size": working_size}
    parts = [
        (ChromaGANGenerator.from_pretrained(source, dtype=torch.float16), target),
        (ChromaGANImageProcessor.from_pretrained(source, **settings), target),
    ]
    if (source / "critic").is_dir():
        parts.append((ChromaGANCritic.from_pretrained(source / "critic", dtype=torch.float16), target / "critic"))
    with without_code():
        for part, folder in parts:
            for name in ("auto_map", "custom_pipelines"):
                getattr(part, "config", part).__dict__.pop(name, None)
            part.save_pretrained(folder)


@contextlib.contextmanager
def without_code():
    """Inside it, saving does not copy the code along as `register_for_auto_class` asks for."""
    registered = {cls: cls._auto_class for cls in (ChromaGANConfig, ChromaGANGenerator, ChromaGANCritic)}
    registered[ChromaGANImageProcessor] = ChromaGANImageProcessor._auto_class
    try:
        for cls in registered:
            cls._auto_class = None
        yield
    finally:
        for cls, auto_class in registered.items():
            cls._auto_class = auto_class


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modeling_chromagan.training.package", description=__doc__)
    parser.add_argument("source", type=Path, help="model folder of a run")
    parser.add_argument("target", type=Path, help="folder to write to")
    parser.add_argument("--working-size", type=int, help="of the image processor (default: the source's)")
    options = parser.parse_args(arguments)
    try:
        package(options.source, options.target, options.working_size)
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
