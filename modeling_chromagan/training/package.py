"""Turns a run's model into the weights that come with the package.

    python -m modeling_chromagan.training.package runs/chromagan_tiny/model modeling_chromagan/pretrained \
        --blend runs/chromagan_tiny/model-color 0.25

Generator, critic and image processor in half precision, without copies of the code, which the package has already. The
generator can be blended with an earlier one of the same run: between the weights before and after a fine-tuning lie
weights that keep more of both than any single checkpoint (Wortsman et al., "Robust fine-tuning of zero-shot models",
CVPR 2022, arXiv 2109.01903).
"""

import argparse
import contextlib
import sys
from pathlib import Path

import torch

from ..configuration_chromagan import ChromaGANConfig
from ..image_processing_chromagan import ChromaGANImageProcessor
from ..modeling_chromagan import ChromaGANCritic, ChromaGANGenerator


def package(
    source: Path, target: Path, working_size: int | None = None, blend: Path | None = None, share: float = 0.0
) -> None:
    """Writes the models of one `from_pretrained` folder into another in float16; other files there stay.

    Args:
        source: folder with generator and image processor, and perhaps a critic in `critic`.
        target: made if it is missing.
        working_size: of the image processor; `None` keeps the source's.
        blend: another folder with a generator of the same config; the weights and running statistics written are
            (1 - share) * source + share * blend.
        share: 0 to 1.

    Raises:
        OSError: if a folder holds no model.
        ValueError: for a share or a working size that is not accepted, or generators that differ.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; accepted: 0 to 1")
    settings = {} if working_size is None else {"working_size": working_size}
    generator = ChromaGANGenerator.from_pretrained(source, dtype=torch.float32)
    if blend is not None:
        mix(generator, ChromaGANGenerator.from_pretrained(blend, dtype=torch.float32), share)
    parts = [
        (generator.half(), target),
        (ChromaGANImageProcessor.from_pretrained(source, **settings), target),
    ]
    if (source / "critic").is_dir():
        parts.append((ChromaGANCritic.from_pretrained(source / "critic", dtype=torch.float16), target / "critic"))
    with without_code():
        for part, folder in parts:
            for name in ("auto_map", "custom_pipelines"):
                getattr(part, "config", part).__dict__.pop(name, None)
            part.save_pretrained(folder)


def mix(generator: ChromaGANGenerator, other: ChromaGANGenerator, share: float) -> None:
    """Moves every floating tensor of `generator` the given share of the way to `other`'s.

    Raises:
        ValueError: if their tensors differ in name or shape.
    """
    ours, theirs = generator.state_dict(), other.state_dict()
    if {name: tensor.shape for name, tensor in ours.items()} != {
        name: tensor.shape for name, tensor in theirs.items()
    }:
        raise ValueError("the two generators differ in shape; accepted: two of one config")
    for name, tensor in ours.items():
        if tensor.is_floating_point():
            tensor.lerp_(theirs[name], share)


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
    parser.add_argument("--blend", nargs=2, metavar=("FOLDER", "SHARE"), help="mix in another generator's weights")
    options = parser.parse_args(arguments)
    try:
        blend, share = (Path(options.blend[0]), float(options.blend[1])) if options.blend else (None, 0.0)
        package(options.source, options.target, options.working_size, blend, share)
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
