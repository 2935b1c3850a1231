"""The pictures of a file, between reading and writing."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from .metadata import Metadata

if TYPE_CHECKING:  # commands import this file before they know that there is anything to do
    from collections.abc import Callable

    import numpy as np
    from PIL import Image

    from ..image_loading import LoadedImage

# How the pictures of a file belong together: one picture, pages of any sizes (TIFF), frames in time (GIF, APNG, WebP).
LAYOUTS = ("single", "pages", "frames")


class AlreadyInColorError(Exception):
    """All pictures of a file are in color, and it is left alone."""


@dataclass(frozen=True, eq=False)
class Page:
    """One picture that was read.

    image: its luminance and opacity.
    metadata: of this page; of frames that of the file.
    duration: milliseconds that a frame is shown.
    colors: the page in displayed sRGB, mode RGB, where it is in color already (not merely toned); None otherwise.
    stored_color: gives such a page as its file has it: (H, W, 3) uint8 or uint16, and its profile, b"" for sRGB.
    depth: bits a sample as the file stores them: 16 where there are more than 8, integers or floats, else 8. It is not
        that of `image`, which may have 16 bits by the conversion of a profile.
    """

    image: "LoadedImage"
    metadata: Metadata = field(default_factory=Metadata)
    duration: Fraction | None = None
    colors: "Image.Image | None" = None
    stored_color: "Callable[[], tuple[np.ndarray, bytes]] | None" = None
    depth: int = 8


@dataclass(frozen=True, eq=False)
class ColoredPage:
    """One picture to be written.

    pixels: (H, W, 3), or (H, W, 4) with opacity, uint8 or uint16.
    metadata: to write with it.
    duration: milliseconds that a frame is shown.
    profile: ICC profile of the pixels, b"" for sRGB; None where it is that of the file.
    """

    pixels: "np.ndarray"
    metadata: Metadata = field(default_factory=Metadata)
    duration: Fraction | None = None
    profile: bytes | None = None
