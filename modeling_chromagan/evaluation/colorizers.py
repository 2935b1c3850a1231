"""What an evaluation measures: models as a protocol runs them, beside the picture left gray."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..color import encode_ab, encode_luminance, reconstruction_to_ab
from ..composition import compose
from ..errors import UserError, first_line
from ..image_loading import load_image
from ..image_processing_chromagan import ChromaGANImageProcessor
from ..modeling_chromagan import ChromaGANGenerator, ColorizationOutput
from ..pipeline_chromagan import ChromaGANPipeline
from ..rgb_spaces import lab_to_rgb8
from ..sources.models import load_generator, load_image_processor
from .protocols import Protocol

GREY = "grey (ab = 0)"


class ColorizerError(UserError, ValueError):
    """A model cannot be loaded or run."""


@dataclass(frozen=True)
class Colored:
    """What a colorizer made of a batch.

    Args:
        rgb: (B, 3, H, W) uint8.
        logits: of the class head, (B, num_labels), if there is one.
        own_loss: (B,), mean squared error of what the network gives, in its own units; `None` where the
            network saw another picture than the one that is compared, or its chroma was multiplied.
    """

    rgb: torch.Tensor
    logits: torch.Tensor | None = None
    own_loss: torch.Tensor | None = None


@contextlib.contextmanager
def evaluation_mode(generator: torch.nn.Module) -> Iterator[None]:
    """The generator in evaluation mode; it leaves in the mode in which it came."""
    was_training = generator.training
    generator.eval()
    try:
        yield
    finally:
        generator.train(was_training)


@torch.no_grad()
def colorize(generator: ChromaGANGenerator, lightness: torch.Tensor) -> tuple[torch.Tensor, ColorizationOutput]:
    """Colors pictures at the size they have, without resizing or filtering.

    The chroma is taken as it is predicted: with the picture's lightness it is brought into sRGB (less chroma, same
    lightness and hue) and rounded to 8 bits.

    Args:
        generator: in the mode (`eval()`) and on the device that it is to be used.
        lightness: CIE L in 0..100, (B, 1, H, W), on any device.

    Returns:
        The pictures, (B, 3, H, W) uint8, on the device of `lightness`, and the generator's own output.
    """
    ab, output = predict(generator, lightness)
    return lab_to_rgb8(torch.cat((lightness, ab), dim=1)), output


@torch.no_grad()
def predict(
    generator: ChromaGANGenerator, lightness: torch.Tensor, working_size: int | None = None
) -> tuple[torch.Tensor, ColorizationOutput]:
    """The chroma of pictures given as for `colorize`, (B, 2, H, W) in Lab units, and the generator's own output.

    With a `working_size` the network sees the pictures with their short side of so many pixels, and its chroma is
    brought back; both bilinearly, averaging where pixels become fewer.
    """
    encoding, size = generator.config.encoding, lightness.shape[-2:]
    seen = lightness
    if working_size is not None:
        seen = _resize(lightness, [round(side * working_size / min(size)) for side in size])
    pixel_values = encode_luminance(seen, encoding).to(generator.device, generator.dtype)  # (B, 1, h, w)
    output = generator(pixel_values)
    ab = reconstruction_to_ab(output.reconstruction.float(), encoding).to(lightness.device)  # (B, 2, h, w)
    return (ab if working_size is None else _resize(ab, size)), output


def _resize(planes: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return F.interpolate(planes, tuple(size), mode="bilinear", antialias=True)


class GrayColorizer:
    """The picture left gray, treated as a model's answer of no chroma would be."""

    name = place = GREY
    saturations = (1.0,)

    def __init__(self, protocol: Protocol):
        self.protocol = protocol

    def color(self, rgb: torch.Tensor, lab: torch.Tensor) -> list[Colored]:
        """Takes truths, (B, 3, H, W), as uint8 and in Lab units; B is 1 where the protocol uses the pipeline."""
        if self.protocol.network == "pipeline":
            gray = load_image(to_picture(rgb[0])).gray
            return [Colored(from_picture(Image.fromarray(compose(gray, torch.zeros(2, 1, 1)))))]
        return [Colored(lab_to_rgb8(torch.cat((lab[:, :1], torch.zeros_like(lab[:, 1:])), dim=1)))]


class ModelColorizer:
    """A generator, run as the protocol says.

    Args:
        name: of its rows and files.
        place: the folder or Hub id.
        generator: put in evaluation mode.
        protocol: how it is run.
        image_processor: for protocols that use the pipeline.
        saturations: factors on the predicted ab, each of which makes a row; 1 is as predicted, whatever the image
            processor's own.
        working_size: short side of what the network sees, instead of the image processor's own or the picture's.

    Raises:
        ColorizerError: if the protocol's pictures are too small for the generator, or a processor does not fit it.
    """

    def __init__(
        self,
        name: str,
        place: str,
        generator: ChromaGANGenerator,
        protocol: Protocol,
        image_processor: ChromaGANImageProcessor | None = None,
        saturations: Sequence[float] = (1.0,),
        working_size: int | None = None,
    ):
        self.name, self.place, self.generator, self.protocol = name, place, generator.eval(), protocol
        self.saturations = tuple(saturations)
        minimum = generator.network.minimum_size
        if protocol.network == "direct" and (seen := working_size or protocol.size) is not None and seen < minimum:
            raise ColorizerError(f"{place}: takes {minimum} pixels a side or more; {protocol.name} has {seen}")
        self.pipeline = None
        self.working_size = working_size
        if protocol.network == "pipeline":
            try:
                self.pipeline = ChromaGANPipeline(generator, image_processor, device=generator.device)
            except ValueError as error:
                raise ColorizerError(f"{place}: {first_line(error)}") from error
            self.working_size = working_size or self.pipeline.image_processor.size["shortest_edge"]

    def color(self, rgb: torch.Tensor, lab: torch.Tensor) -> list[Colored]:
        """Colors a batch by one pass of the network.

        Args:
            rgb: truths, (B, 3, H, W) uint8; B is 1 where the protocol uses the pipeline.
            lab: the same in Lab units.

        Returns:
            What it makes of them at each of its saturations.
        """
        return self.color_as_user(rgb) if self.pipeline is not None else self.color_directly(rgb, lab)

    @torch.no_grad()
    def color_as_user(self, rgb: torch.Tensor) -> list[Colored]:
        """`color` by way of the pipeline, (1, 3, H, W)."""
        inputs = self.pipeline.preprocess(to_picture(rgb[0]), size=self.working_size)
        output = self.generator(inputs["pixel_values"].to(self.generator.device))
        prediction = {"reconstruction": output.reconstruction.float().cpu(), "originals": inputs["originals"]}
        pictures = (self.pipeline.postprocess(prediction, saturation=saturation) for saturation in self.saturations)
        return [Colored(from_picture(picture), output.logits) for picture in pictures]

    @torch.no_grad()
    def color_directly(self, rgb: torch.Tensor, lab: torch.Tensor) -> list[Colored]:
        """`color` by the network alone, at the size that the pictures have if no other was asked for."""
        ab, output = predict(self.generator, lab[:, :1], self.working_size)
        error = None if self.working_size is not None else self.own_error(output.reconstruction, rgb, lab)
        return [
            Colored(
                lab_to_rgb8(torch.cat((lab[:, :1], saturation * ab), dim=1)),
                output.logits,
                error if saturation == 1 else None,
            )
            for saturation in self.saturations
        ]

    def own_error(self, reconstruction: torch.Tensor, rgb: torch.Tensor, lab: torch.Tensor) -> torch.Tensor:
        """Mean squared error of what the network gives, in its own units, (B,)."""
        in_rgb = reconstruction.shape[1] == 3
        truth = rgb.float() / 255 if in_rgb else encode_ab(lab[:, 1:], self.generator.config.encoding)
        return (reconstruction.float().cpu() - truth.cpu()).square().flatten(1).double().mean(1)


def load_colorizers(
    places: Sequence[str], protocol: Protocol, device: torch.device | str = "cpu", **settings: Any
) -> list[ModelColorizer]:
    """Models of folders or Hub ids, in float32, under names that differ; `settings` are those of `ModelColorizer`.

    Raises:
        ModelError: naming the first one that cannot be loaded.
    """
    colorizers, taken = [], set()
    for place in places:
        generator = load_generator(place).to(device)
        processor = None
        if protocol.network == "pipeline":
            processor = load_image_processor(place)
        stem = name_of(place)
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        colorizers.append(ModelColorizer(name, place, generator, protocol, processor, **settings))
    return colorizers


def name_of(place: str) -> str:
    """A short name for a model that can also be a file's: a run's folder rather than the `model` inside it."""
    parts = (Path(os.path.abspath(place)) if Path(place).is_dir() else Path(place)).parts
    name = parts[-2] if parts[-1] == "model" and len(parts) > 1 else parts[-1]
    return re.sub(r"[^\w.-]", "_", name).lstrip(".-") or "model"


def to_picture(rgb: torch.Tensor) -> Image.Image:
    """(3, H, W) uint8 as a picture."""
    return Image.fromarray(rgb.permute(1, 2, 0).contiguous().cpu().numpy())


def from_picture(picture: Image.Image) -> torch.Tensor:
    """A picture as (1, 3, H, W) uint8."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].contiguous()


__all__ = [
    "GREY",
    "Colored",
    "ColorizerError",
    "GrayColorizer",
    "ModelColorizer",
    "colorize",
    "evaluation_mode",
    "load_colorizers",
]
