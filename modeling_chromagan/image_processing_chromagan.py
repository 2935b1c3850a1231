"""What the network sees of a picture, and the full-size color picture that its prediction makes."""

import os
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature

from .borders import find_borders
from .color import COLOR_ENCODINGS, encode_luminance, gray_to_lightness, reconstruction_to_ab
from .composition import compose
from .image_loading import LoadedImage, load_image

CHOICES = {"encoding": COLOR_ENCODINGS, "borders": ("auto", "keep")}
# Working sizes start at the generator's minimum; they end where a mistyped number would take all memory.
RANGES = {
    "working_size": (16, 2048),
    "long_side_cap": (1.0, 64.0),
    "saturation": (0.0, 2.0),
    "max_pixels": (1, 10**11),
}

STRIP_PIXELS = 1_000_000  # pixels of a large picture that exist as float32 at one time


class ChromaGANImageProcessorKwargs(TypedDict, total=False):
    """The settings of `ChromaGANImageProcessor`, as transformers' image processors declare them."""

    encoding: str
    working_size: int
    long_side_cap: float
    saturation: float
    borders: str
    max_pixels: int


@dataclass(frozen=True)
class PreparedImage:
    """One picture ready for the network.

    Args:
        pixel_values: encoded luminance, (1, h, w), float32, of the part of the picture inside `box`.
        box: (left, top, right, bottom) of the picture inside its margins, in pixels of `original`.
        original: the loaded picture at full size and precision.
    """

    pixel_values: torch.Tensor
    box: tuple[int, int, int, int]
    original: LoadedImage


class ChromaGANImageProcessor(PilBackend):
    r"""
    Turns any picture into encoded luminance, and predicted chroma into a picture of the input's size.

    Every source goes through the package's own loader: transformers' turns 16-bit scans into white pages.

    Args:
        encoding: network units, `"unit8"` or `"symmetric"`; must be the model's `config.encoding`.
        working_size: pixels of the short side of what the network sees, 16 to 2048. The aspect ratio is kept.
        long_side_cap: the long side is at most this many times the short one, 1 to 64; a longer picture is squeezed.
        saturation: what the predicted chroma is multiplied by, 0 (gray) to 2; 1 leaves it as predicted.
        borders: `"auto"` leaves near-uniform margins (film rebates, mounts, paper) out of what the network sees and
            neutral in the result; `"keep"` treats them as picture.
        max_pixels: pictures with more pixels are refused before they are decoded.

    Raises:
        ValueError: naming the setting, what was given and what is accepted.
    """

    valid_kwargs = ChromaGANImageProcessorKwargs
    model_input_names = ["pixel_values"]  # noqa: RUF012 - read by transformers as a class attribute

    encoding = "unit8"
    working_size = 256
    long_side_cap = 4.0
    saturation = 1.0
    borders = "auto"
    max_pixels = 200_000_000

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        check_settings(**{name: getattr(self, name) for name in self.valid_kwargs.__annotations__})

    def preprocess(
        self,
        images: Any,
        return_tensors: str | None = "pt",
        working_size: int | None = None,
        borders: str | None = None,
    ) -> BatchFeature:
        """Encoded luminance of one or several pictures of the same network size; also what calling the object does.

        Args:
            images: a path, bytes, PIL picture, array (H, W[, 1, 3 or 4]), tensor (H, W) or (C, H, W), uint8 or
                0..1, `LoadedImage`, or a list of these.
            return_tensors: `"pt"`, `"np"`, or `None` for a list of arrays (1, h, w) of any sizes.
            working_size: instead of the processor's own.
            borders: instead of the processor's own.

        Returns:
            `pixel_values`, (B, 1, h, w), float32.

        Raises:
            ImageLoadError: naming the picture that could not be read, and why.
            ValueError: for a wrong setting, or network sizes that differ and so make no tensor.
        """
        images = as_list(images)
        arrays = [
            self.prepare(
                image, name=name_in_list(image, i, len(images)), working_size=working_size, borders=borders
            ).pixel_values.numpy()
            for i, image in enumerate(images)
        ]
        sizes = sorted({f"{array.shape[1]}x{array.shape[2]}" for array in arrays})
        if return_tensors is not None and len(sizes) > 1:
            raise ValueError(
                f"images have network sizes {', '.join(sizes)}; accepted in one batch: one size "
                "(group them as ChromaGANPipeline does, or return_tensors=None)"
            )
        return BatchFeature({"pixel_values": arrays}, tensor_type=return_tensors)

    def prepare(
        self, image: Any, *, name: str | None = None, working_size: int | None = None, borders: str | None = None
    ) -> PreparedImage:
        """Loads one picture, finds its margins, and makes what the network sees of the rest.

        Besides the loaded picture itself memory does not grow with its size.

        Args:
            image: a picture as in `preprocess`.
            name: what errors call a picture that has no file name.
            working_size: instead of the processor's own.
            borders: instead of the processor's own.

        Raises:
            ImageLoadError: naming the picture, and why it could not be read.
            ValueError: for a wrong setting.
        """
        working_size = self.working_size if working_size is None else working_size
        borders = self.borders if borders is None else borders
        check_settings(working_size=working_size, borders=borders)
        original = self.load(image, name=name)
        height, width = original.gray.shape
        box = tuple(find_borders(original.gray)) if borders == "auto" else (0, 0, width, height)
        size = network_size(box[3] - box[1], box[2] - box[0], working_size, self.long_side_cap)
        gray = torch.from_numpy(resize_gray(original.gray, box, *size))[None]
        return PreparedImage(encode_luminance(gray_to_lightness(gray), self.encoding), box, original)

    def load(self, image: Any, *, name: str | None = None) -> LoadedImage:
        """One picture, as in `preprocess`, through the package's loader; a `LoadedImage` is returned as it is.

        Raises:
            ImageLoadError: naming the picture, and why it could not be read.
        """
        if isinstance(image, LoadedImage):
            return image
        if isinstance(image, torch.Tensor):
            image = to_array(image)
        return load_image(image, max_pixels=self.max_pixels, name=name)

    def post_process_colorization(
        self,
        outputs: Any,
        originals: Any,
        saturation: float | None = None,
        borders: str | None = None,
    ) -> list[Image.Image]:
        """Predicted chroma joined with the originals' own luminance at full size.

        Args:
            outputs: a model output whose `reconstruction` is encoded ab, (B, 2, h, w), or sRGB in 0..1, (B, 3, h, w),
                of any float type, on any device. Of RGB only the chroma is used.
            originals: the B pictures, as `PreparedImage` or anything that `preprocess` takes.
            saturation: instead of the processor's own. Colors that it takes out of sRGB are brought back at constant
                lightness and hue.
            borders: what `preprocess` was called with, where the originals are no `PreparedImage`.

        Returns:
            B pictures of the originals' sizes, RGB, or RGBA where the original has alpha.

        Raises:
            ImageLoadError: naming the picture that could not be read, and why.
            ValueError: for a wrong setting or another number of originals.
        """
        saturation = self.saturation if saturation is None else saturation
        check_settings(saturation=saturation)
        originals = as_list(originals)
        if len(originals) != len(outputs.reconstruction):
            raise ValueError(f"originals has {len(originals)} pictures; accepted: {len(outputs.reconstruction)}")
        pictures = []
        for i, original in enumerate(originals):
            if not isinstance(original, PreparedImage):
                original = self.prepare(original, name=name_in_list(original, i, len(originals)), borders=borders)
            ab = reconstruction_to_ab(outputs.reconstruction[i].detach().float().cpu(), self.encoding)
            rgb = compose(original.original.gray, saturation * ab, box=original.box)
            picture = Image.fromarray(rgb)
            if original.original.alpha is not None:
                picture.putalpha(Image.fromarray(original.original.alpha))
            pictures.append(picture)
        return pictures


def check_settings(**settings: Any) -> None:
    """Raises ValueError naming the first wrong setting, what was given and what is accepted."""
    for name, value in settings.items():
        if name in CHOICES:
            if value not in CHOICES[name]:
                raise ValueError(f"{name} is {value!r}; accepted: {', '.join(CHOICES[name])}")
            continue
        least, most = RANGES[name]
        kind = type(most)
        if isinstance(value, bool) or not isinstance(value, int | kind) or not least <= value <= most:
            number = "a whole number" if kind is int else "a number"
            raise ValueError(f"{name} is {value!r}; accepted: {number} from {least} to {most}")


def as_list(images: Any) -> list:
    """One picture, several, or an array or tensor of several (four dimensions), as a list of pictures."""
    if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4:
        return list(images)
    return [images]


def name_in_list(image: Any, index: int, count: int | None) -> str | None:
    """What errors call picture `index` of `count`; `None` where it names itself, as files do."""
    named = isinstance(image, str | os.PathLike | LoadedImage) or getattr(image, "filename", "")
    return None if named or count == 1 else f"picture {index + 1}"


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor (H, W) or (C, H, W), as torch has pictures, as an array (H, W) or (H, W, C), as Pillow has them."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()
    return (tensor.permute(1, 2, 0) if tensor.ndim == 3 else tensor).numpy()


def network_size(height: int, width: int, working_size: int, long_side_cap: float) -> tuple[int, int]:
    """Height and width for the network: the short side is `working_size`, the long one in proportion, but capped."""
    cap = round(working_size * long_side_cap)
    scale = working_size / min(height, width)
    return min(round(height * scale), cap), min(round(width * scale), cap)


def resize_gray(gray: np.ndarray, box: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
    """The part of `gray` inside `box` at another size, antialiased, on the sRGB-coded values that training resizes.

    Args:
        gray: (H, W), uint8, uint16, or float32 in 0..1.
        box: (left, top, right, bottom).
        height: rows of the result.
        width: columns of the result.

    Returns:
        (height, width), float32, 0..1.
    """
    left, top, right, bottom = box
    strip_height = max(STRIP_PIXELS // (right - left), 1)
    strips = []
    for y in range(top, bottom, strip_height):  # columns first, strip by strip, then rows: Pillow's own order, exactly
        strip = gray[y : min(y + strip_height, bottom), left:right].astype(np.float32)
        strips.append(np.asarray(Image.fromarray(strip).resize((width, len(strip)), Image.Resampling.BILINEAR)))
    resized = np.asarray(Image.fromarray(np.concatenate(strips)).resize((width, height), Image.Resampling.BILINEAR))
    full_scale = np.float32(np.iinfo(gray.dtype).max if gray.dtype.kind == "u" else 1)
    return resized / full_scale


ChromaGANImageProcessor.register_for_auto_class("AutoImageProcessor")

__all__ = ["ChromaGANImageProcessor", "PreparedImage"]
