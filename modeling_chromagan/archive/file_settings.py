"""What the writers of all containers share: how one file is written, and what is lost in its pixels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image

from ..pixel_blocks import at_depth
from .metadata import Metadata
from .pages import ColoredPage


@dataclass(frozen=True)
class FileSettings:
    """How the pictures of one file are written.

    layout: one of `LAYOUTS` of `pages.py`.
    profile: the ICC profile to embed; empty for sRGB.
    loops: how often frames are shown, 0 for ever.
    compression: of a TIFF, "lzw", "deflate" or "none".
    size: bytes of all pictures together before compression, at most; 0 where nobody knows.
    """

    layout: str
    profile: bytes = b""
    loops: int = 0
    compression: str = "lzw"
    size: int = 0


class Notes(list[str]):
    """What could not be kept, one line each, none twice."""

    def add(self, note: str) -> None:
        if note not in self:
            self.append(note)

    def add_unsaid(self, metadata: Metadata, container: str, sayable: Iterable[str]) -> None:
        """One line for every field of the metadata that a container has no place for."""
        for name in ("resolution", "exif", "iptc", "xmp", "text", "comments"):
            if getattr(metadata, name) and name not in sayable:
                self.add(f"{container} has no place for {name}: it is left out")


def to_8_bits(pixels: np.ndarray, container: str, notes: Notes) -> np.ndarray:
    """uint8 or uint16 pixels -> uint8, rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    notes.add(f"{container} is written with 8 bits a channel: 16 bits are rounded")
    return at_depth(pixels, 8)


def to_opaque(pixels: np.ndarray, container: str, notes: Notes) -> np.ndarray:
    """(H, W, 3 or 4) -> (H, W, 3)."""
    if pixels.shape[2] == 3:
        return pixels
    notes.add(f"{container} has no transparency: the alpha channel is left out")
    return np.ascontiguousarray(pixels[..., :3])


def frame_images(
    pages: Iterator[ColoredPage], container: str, notes: Notes
) -> Iterator[tuple[ColoredPage, Image.Image]]:
    """Each page with its picture as 8-bit RGB or RGBA.

    Raises:
        ValueError: if frames differ in size.
    """
    size = None
    for page in pages:
        image = Image.fromarray(to_8_bits(page.pixels, container, notes))
        size = size or image.size
        if image.size != size:
            raise ValueError(f"a frame has {image.width} x {image.height} pixels, the first {size[0]} x {size[1]}")
        yield page, image


def whole_milliseconds(durations: Sequence[Fraction | None], container: str, notes: Notes) -> list[int]:
    """Durations of frames in whole milliseconds whose sums are never more than half of one off."""
    result, exact, rounded = [], Fraction(0), 0
    for duration in durations:
        exact += duration or 0
        result.append(round(exact) - rounded)
        rounded += result[-1]
    if any(duration and duration.denominator != 1 for duration in durations):
        notes.add(f"{container} times frames in milliseconds: some are rounded")
    return result
