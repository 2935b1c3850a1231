"""The image processor: pictures -> network input, predicted chroma -> full-size pictures."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ChannelDimension, SizeDict
from transformers.processing_utils import ImagesKwargs
from transformers.utils import logging

from .borders import find_borders
from .color import COLOR_ENCODINGS, encode_luminance, gray_to_lightness, reconstruction_to_ab
from .composition import compose
from .durable_files import filling
from .image_loading import LoadedImage, load_image
from .pixel_blocks import at_depth
from .processor_settings import check_choice, check_names, check_settings, complete_size
from .rgb_spaces import SRGB, RGBSpace

logger = logging.get_logger(__name__)

STRIP_PIXELS = 1_000_000  # pixels of a large picture that exist as float32 at one time


class ChromaGANImageProcessorKwargs(TypedDict, total=False):
    """The settings of `ChromaGANImageProcessor`, as transformers' image processors declare them."""

    encoding: str
    do_convert_rgb: bool | None
    do_resize: bool | None
    size: int | dict[str, int] | SizeDict | None
    resample: int | None
    do_rescale: bool | None
    do_normalize: bool | None
    saturation: float | None
    borders: str | None
    max_pixels: int | None


SETTINGS = tuple(ChromaGANImageProcessorKwargs.__annotations__)
# What one call of `preprocess` can change: the encoding is the model's, the saturation is that of the colors.
SETTINGS_OF_CALL = tuple(name for name in SETTINGS if name not in ("encoding", "saturation"))
# What transformers writes into preprocessor_config.json beside the settings.
WRITTEN_ALONG = ("image_processor_type", "auto_map", "processor_class", "feature_extractor_type")


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

    Every source goes through the package's own loader: transformers' turns 16-bit scans into white pages. The network
    sees CIE lightness in the units of `encoding`, so there is no `rescale_factor`, `image_mean` or `image_std` to set,
    and neither step of `do_rescale` and `do_normalize` can be left out.

    Args:
        encoding: network units, `"unit8"` (L / 100) or `"symmetric"` (L / 50 - 1); must be the model's
            `config.encoding`.
        do_convert_rgb: either; luminance is taken from pictures of any mode.
        do_resize: whether the network sees the picture at `size`, or at its own.
        size: `{"shortest_edge": 16 to 2048, "longest_edge": ...}`, pixels of what the network sees. The aspect ratio
            is kept; where the long side would be longer than `longest_edge`, the picture is squeezed. A whole number
            is the shortest edge; a longest edge that is not given keeps its proportion to it, which is 4 by default.
        resample: the filter of `PIL.Image.Resampling` that resizes, 0 to 5, bilinear as in training by default.
        do_rescale: `True`. Stored values become 0 to 1 by their type: of integers the share of the largest one, floats
            are there already.
        do_normalize: `True`. The lightness of these values is brought to the units of `encoding`.
        saturation: what the predicted chroma is multiplied by, 0 (gray) to 2; 1 leaves it as predicted.
        borders: `"auto"` leaves near-uniform margins (film rebates, mounts, paper) out of what the network sees and
            neutral in the result; `"keep"` treats them as picture.
        max_pixels: pictures with more pixels are refused before they are decoded.

    Raises:
        SettingError: (a ValueError) naming the setting, what was given and what is accepted.
        TypeError: for other settings, naming those that there are.
    """

    valid_kwargs = ChromaGANImageProcessorKwargs
    model_input_names = ["pixel_values"]  # noqa: RUF012 - read by transformers as a class attribute
    default_to_square = False
    rescale_factor = None

    encoding = "unit8"
    do_convert_rgb = True
    do_resize = True
    size = {"shortest_edge": 256, "longest_edge": 1024}  # noqa: RUF012 - as in transformers; every object gets a copy
    resample = Image.Resampling.BILINEAR
    do_rescale = True
    do_normalize = True
    saturation = 1.0
    borders = "auto"
    max_pixels = 200_000_000

    def __init__(self, **kwargs: Unpack[ChromaGANImageProcessorKwargs]):
        check_names(kwargs.keys() - set(WRITTEN_ALONG), SETTINGS)
        super().__init__(**kwargs)

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """A processor of saved settings, which `kwargs` change; also what `from_pretrained` ends with.

        Saved names that neither this class nor transformers has are passed over with a warning; other arguments of
        `from_pretrained` may be among `kwargs`.

        Raises:
            SettingError: naming the setting, what was given and what is accepted.
            TypeError: for settings that other image processors have.
        """
        of_others = ImagesKwargs.__annotations__.keys() - set(SETTINGS)
        check_names(of_others & kwargs.keys(), SETTINGS)
        known = {*SETTINGS, *WRITTEN_ALONG, *of_others}
        saved = {name: value for name, value in image_processor_dict.items() if name in known}
        if passed_over := image_processor_dict.keys() - saved.keys():
            logger.warning(f"{', '.join(sorted(passed_over))} of the image processor's file is unknown and not used")
        if kwargs.get("size") is not None and saved.get("size") is not None:
            kwargs["size"] = complete_size(kwargs["size"], complete_size(saved["size"], cls.size))
        return super().from_dict(saved, **kwargs)

    def _standardize_kwargs(self, **settings: Any) -> dict[str, Any]:
        """Checks all settings and completes the size; transformers calls it when a processor is made."""
        check_choice("encoding", settings["encoding"], COLOR_ENCODINGS)
        check_settings(**{name: value for name, value in settings.items() if name != "encoding"})
        return settings | {"size": SizeDict(**complete_size(settings["size"], type(self).size))}

    def _settings_of_call(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The processor's settings with those that one call changes."""
        check_names(given, SETTINGS_OF_CALL)
        own = self._standardize_kwargs(**{name: getattr(self, name) for name in SETTINGS})
        changed = {name: value for name, value in given.items() if value is not None}
        if "size" in changed:
            changed["size"] = complete_size(changed["size"], own["size"])
        return self._standardize_kwargs(**own | changed)

    def preprocess(
        self,
        images: Any,
        return_tensors: str | None = "pt",
        *,
        input_data_format: str | None = None,
        **settings: Unpack[ChromaGANImageProcessorKwargs],
    ) -> BatchFeature:
        """Encoded luminance of one or several pictures of the same network size; also what calling the object does.

        Args:
            images: a path, bytes, PIL picture, array or tensor (H, W), (H, W, C) or (C, H, W) of 1, 3 or 4 channels,
                uint8 or 0..1, `LoadedImage`, or a list of these.
            return_tensors: `"pt"`, `"np"`, or `None` for a list of arrays (1, h, w) of any sizes.
            input_data_format: `"channels_first"` or `"channels_last"`, where the shape of an array could mean both; by
                default arrays then have them last, as Pillow, tensors first, as torch.
            settings: instead of the processor's own; all but `encoding` and `saturation`.

        Returns:
            `pixel_values`, (B, 1, h, w), float32.

        Raises:
            ImageLoadError: naming the picture that could not be read, and why.
            ValueError: for a wrong setting, or network sizes that differ and so make no tensor.
            TypeError: for a setting that there is not.
        """
        images = as_list(images)
        arrays = [
            self.prepare(
                image, name=name_in_list(image, i, len(images)), input_data_format=input_data_format, **settings
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
        self,
        image: Any,
        *,
        name: str | None = None,
        input_data_format: str | None = None,
        **settings: Unpack[ChromaGANImageProcessorKwargs],
    ) -> PreparedImage:
        """Loads one picture, finds its margins, and makes what the network sees of the rest.

        Besides the loaded picture itself memory does not grow with its size, unless `do_resize` is off.

        Args:
            image: a picture as in `preprocess`.
            name: what errors call a picture that has no file name.
            input_data_format: as in `preprocess`.
            settings: as in `preprocess`.

        Raises:
            ImageLoadError: naming the picture, and why it could not be read.
            SettingError: for a wrong setting.
            TypeError: for a setting that there is not.
        """
        chosen = self._settings_of_call(settings)
        original = self.load(image, name=name, input_data_format=input_data_format, max_pixels=chosen["max_pixels"])
        height, width = original.gray.shape
        box = find_borders(original.gray) if chosen["borders"] == "auto" else (0, 0, width, height)
        seen = box[3] - box[1], box[2] - box[0]
        if chosen["do_resize"]:
            seen = network_size(*seen, chosen["size"].shortest_edge, chosen["size"].longest_edge)
        gray = torch.from_numpy(resize_gray(original.gray, box, *seen, chosen["resample"]))[None]
        return PreparedImage(encode_luminance(gray_to_lightness(gray), self.encoding), box, original)

    def load(
        self,
        image: Any,
        *,
        name: str | None = None,
        input_data_format: str | None = None,
        max_pixels: int | None = None,
    ) -> LoadedImage:
        """One picture, as in `preprocess`, through the package's loader; a `LoadedImage` is returned as it is.

        Raises:
            ImageLoadError: naming the picture, and why it could not be read.
        """
        if isinstance(image, LoadedImage):
            return image
        if isinstance(image, torch.Tensor | np.ndarray):
            image = to_array(image, input_data_format)
        return load_image(image, max_pixels=self.max_pixels if max_pixels is None else max_pixels, name=name)

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """As in the library, but each file is on the disk as a whole; raises OSError if the disk is full or fails."""
        folder = Path(save_directory)
        if push_to_hub:
            kwargs.setdefault("repo_id", folder.name)
        with filling(folder) as partial:
            written = super().save_pretrained(str(partial), push_to_hub, **kwargs)
        return [str(folder / Path(path).name) for path in written]

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
        originals = as_list(originals)
        if len(originals) != len(outputs.reconstruction):
            raise ValueError(f"originals has {len(originals)} pictures; accepted: {len(outputs.reconstruction)}")
        pictures = []
        for i, original in enumerate(originals):
            if not isinstance(original, PreparedImage):
                original = self.prepare(original, name=name_in_list(original, i, len(originals)), borders=borders)
            pixels = self.compose_colors(outputs.reconstruction[i], original, saturation=saturation)
            pictures.append(Image.fromarray(pixels))
        return pictures

    def compose_colors(
        self,
        reconstruction: torch.Tensor,
        prepared: PreparedImage,
        *,
        saturation: float | None = None,
        depth: int = 8,
        space: RGBSpace = SRGB,
        coding: RGBSpace | None = None,
    ) -> np.ndarray:
        """Predicted chroma joined with one picture's own luminance at full size, at any depth, in any space.

        Args:
            reconstruction: what the model gives for the picture, encoded ab, (2, h, w), or sRGB in 0..1, (3, h, w), of
                any float type, on any device.
            prepared: the picture.
            saturation: instead of the processor's own, as in `post_process_colorization`.
            depth: bits of a channel, 8 or 16.
            space: that the colors are in.
            coding: whose curve the picture's gray values have as its file stores them; None takes its luminance.

        Returns:
            (H, W, 3), or (H, W, 4) where the picture has alpha, uint8 or uint16.

        Raises:
            ValueError: for a wrong setting.
        """
        saturation = self.saturation if saturation is None else saturation
        check_settings(saturation=saturation)
        ab = reconstruction_to_ab(reconstruction.detach().float().cpu(), self.encoding)
        gray, alpha = prepared.original.gray, prepared.original.alpha
        if coding is not None and prepared.original.stored is not None:
            gray = prepared.original.stored
        else:
            coding = SRGB
        colors = compose(gray, saturation * ab, box=prepared.box, depth=depth, space=space, coding=coding)
        if alpha is None:
            return colors
        return np.dstack((colors, at_depth(alpha, depth)))


def as_list(images: Any) -> list:
    """One picture, several, or an array or tensor of several (four dimensions), as a list of pictures."""
    if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4:
        return list(images)
    return [images]


def name_in_list(image: Any, index: int, count: int | None) -> str | None:
    """What errors call picture `index` of `count`; `None` where it names itself, as files do."""
    named = isinstance(image, str | os.PathLike | LoadedImage) or bool(getattr(image, "filename", ""))
    return None if named or count == 1 else f"picture {index + 1}"


def to_array(picture: torch.Tensor | np.ndarray, input_data_format: str | None = None) -> np.ndarray:
    """A tensor or array (H, W), (H, W, C) or (C, H, W) as an array (H, W) or (H, W, C), as Pillow has them.

    Raises:
        ValueError: for an unknown `input_data_format`.
    """
    first = isinstance(picture, torch.Tensor)
    if isinstance(picture, torch.Tensor):
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() else picture).numpy()
    if picture.ndim != 3:
        return picture
    could_be_first, could_be_last = (picture.shape[axis] in (1, 3, 4) for axis in (0, 2))
    if input_data_format is not None:
        first = ChannelDimension(input_data_format) is ChannelDimension.FIRST
    elif could_be_first != could_be_last:
        first = could_be_first
    return np.moveaxis(picture, 0, 2) if first else picture


def network_size(height: int, width: int, shortest_edge: int, longest_edge: int) -> tuple[int, int]:
    """Height and width for the network: one side is `shortest_edge`, the other in proportion up to `longest_edge`."""
    scale = shortest_edge / min(height, width)
    return min(round(height * scale), longest_edge), min(round(width * scale), longest_edge)


def resize_gray(
    gray: np.ndarray,
    box: tuple[int, int, int, int],
    height: int,
    width: int,
    resample: int = Image.Resampling.BILINEAR,
) -> np.ndarray:
    """The part of `gray` inside `box` at another size, antialiased, on the sRGB-coded values that training resizes.

    Args:
        gray: (H, W), uint8, uint16, or float32 in 0..1.
        box: (left, top, right, bottom).
        height: rows of the result.
        width: columns of the result.
        resample: one of `PIL.Image.Resampling`.

    Returns:
        (height, width), float32, 0..1.
    """
    left, top, right, bottom = box
    strip_height = max(STRIP_PIXELS // (right - left), 1)
    strips = []
    for y in range(top, bottom, strip_height):  # columns first, strip by strip, then rows: Pillow's own order, exactly
        strip = gray[y : min(y + strip_height, bottom), left:right].astype(np.float32)
        strips.append(np.asarray(Image.fromarray(strip).resize((width, len(strip)), resample)))
    resized = np.asarray(Image.fromarray(np.concatenate(strips)).resize((width, height), resample))
    full_scale = np.float32(np.iinfo(gray.dtype).max if gray.dtype.kind == "u" else 1)
    return resized / full_scale


ChromaGANImageProcessor.register_for_auto_class("AutoImageProcessor")

__all__ = ["ChromaGANImageProcessor", "PreparedImage"]
