"""Turns a run's model into the weights that come with the package.

    python -m modeling_chromagan.training.run.release runs/chromagan_lite/model modeling_chromagan/pretrained \
        --blend runs/chromagan_lite/model-color 0.5

Generator, critic and image processor in half precision, without copies of the code, which the package has already. The
generator can be blended with an earlier one of the same run: between the weights before and after a fine-tuning lie
weights that keep more of both than any single checkpoint (Wortsman et al., "Robust fine-tuning of zero-shot models",
CVPR 2022, arXiv 2109.01903).
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ...configuration_chromagan import ChromaGANConfig
from ...errors import UserError, one_line
from ...image_processing_chromagan import ChromaGANImageProcessor
from ...modeling_chromagan import ChromaGANCritic, ChromaGANGenerator
from ...sources.models import load_generator, load_image_processor


def package(
    source: Path, target: Path, working_size: int | None = None, blends: Sequence[tuple[Path, float]] = ()
) -> None:
    """Writes the models of one `from_pretrained` folder into another in float16; other files there stay.

    Args:
        source: folder with generator and image processor, and perhaps a critic in `critic`.
        target: made if it is missing.
        working_size: of the image processor; `None` keeps the source's.
        blends: other folders with generators of the same config, and their shares of the weights and running
            statistics that are written; the rest is the source's.

    Raises:
        UserError: for shares or a working size that are not accepted, folders without a model, or generators that
            differ.
    """
    rest = 1.0
    for _, share in blends:
        rest -= share
        if not (share >= 0 and rest >= -1e-9):
            raise UserError(f"share is {share}; accepted: 0 to 1, with the other shares no more than 1 together")
    generator = load_generator(source)
    so_far = rest
    for blend, share in blends:
        so_far += share
        if so_far > 0:
            mix(generator, load_generator(blend), share / so_far)
    models = [(generator, target)]
    if (source / "critic").is_dir():
        critic = ChromaGANCritic.from_pretrained(source / "critic", dtype=torch.float32)
        models.append((critic, target / "critic"))
    processor = load_image_processor(source, size=working_size)
    with without_code():
        for part in (processor, *(model.config for model, _ in models)):
            for name in ("auto_map", "custom_pipelines"):
                part.__dict__.pop(name, None)
        for model, folder in models:
            model.save_pretrained(folder, state_dict=half_weights(model))
        processor.save_pretrained(target)


def half_weights(model: ChromaGANGenerator | ChromaGANCritic) -> dict[str, torch.Tensor]:
    """A model's tensors as they are stored: weights in float16, and the batch norms' statistics as they are.

    These cost nothing, and errors in them are errors of every pixel.

    The model stays in float32, which its config then says: whoever loads the folder without a word computes in it. In
    float16 a CPU takes twenty times as long.
    """
    weights = {name for name, _ in model.named_parameters()}
    return {name: tensor.half() if name in weights else tensor for name, tensor in model.state_dict().items()}


def mix(generator: ChromaGANGenerator, other: ChromaGANGenerator, share: float) -> None:
    """Moves every floating tensor of `generator` the given share of the way to `other`'s.

    Raises:
        UserError: if their tensors differ in name or shape.
    """
    ours, theirs = generator.state_dict(), other.state_dict()
    if {name: tensor.shape for name, tensor in ours.items()} != {
        name: tensor.shape for name, tensor in theirs.items()
    }:
        raise UserError("the two generators differ in shape; accepted: two of one config")
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
    parser = argparse.ArgumentParser(prog="python -m modeling_chromagan.training.run.release", description=__doc__)
    parser.add_argument("source", type=Path, help="model folder of a run")
    parser.add_argument("target", type=Path, help="folder to write to")
    parser.add_argument("--working-size", type=int, help="of the image processor (default: the source's)")
    parser.add_argument(
        "--blend",
        nargs=2,
        action="append",
        default=[],
        metavar=("FOLDER", "SHARE"),
        help="mix in another generator's weights; may be given several times",
    )
    options = parser.parse_args(arguments)
    try:
        blends = [(Path(folder), float(share)) for folder, share in options.blend]
        package(options.source, options.target, options.working_size, blends)
    except (UserError, OSError, ValueError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
