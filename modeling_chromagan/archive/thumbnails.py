"""Small pictures of inputs and results, for reports."""

import io
from pathlib import Path

from PIL import Image

from ..image_loading import load_color, open_image
from ..picture_formats import FORMAT_OF_SUFFIX
from ..pixel_blocks import at_depth
from .deep_pictures import read_deep
from .pages import Page
from .scan import open_scan

SIDE = 160  # pixels, of the longer side
GROUND = 128  # gray behind what is transparent
MOST_PIXELS = 200_000_000  # larger pictures are not shown

PICTURE_ERRORS = (OSError, ValueError, MemoryError)


def thumbnail_before(source: Path) -> bytes | None:
    """The first picture of an input as it is, as a JPEG; None where it cannot be read (any more)."""
    try:
        page = first_page(source)
        return _encode(page.colors or page.image.as_shown("LA"))
    except PICTURE_ERRORS:
        return None


def thumbnail_after(result: Path) -> bytes | None:
    """The first picture of a result in its colors, as a JPEG; None where it cannot be read (any more)."""
    try:
        colors = _colors(result)
        if FORMAT_OF_SUFFIX.get(result.suffix.lower()) != "jpeg":  # which is decoded at a fraction of its size
            alpha = first_page(result).image.alpha
            if alpha is not None:
                colors.putalpha(Image.fromarray(at_depth(alpha, 8)))
        return _encode(colors)
    except PICTURE_ERRORS:
        return None


def _colors(result: Path) -> Image.Image:
    """In mode RGB; of JPEG 2000 with 16 bits not by Pillow, which reads its brightest values as black."""
    if FORMAT_OF_SUFFIX.get(result.suffix.lower()) == "jp2":
        content, name = result.read_bytes(), str(result)
        with open_image(io.BytesIO(content), name, MOST_PIXELS) as image:
            deep = read_deep(image, content, name, MOST_PIXELS)
        if deep is not None:
            return deep.color()
    return load_color(result, max_pixels=MOST_PIXELS, short_side=SIDE)


def first_page(path: Path) -> Page:
    with open_scan(path, name=str(path), max_pixels=MOST_PIXELS) as scan:
        return next(scan.pages())


def _encode(picture: Image.Image) -> bytes:
    picture.thumbnail((SIDE, SIDE))
    if picture.mode.endswith("A"):
        ground = Image.new(picture.mode[:-1], picture.size, (GROUND,) * (len(picture.mode) - 1))
        ground.paste(picture.convert(ground.mode), mask=picture.getchannel("A"))
        picture = ground
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()


__all__ = ["SIDE", "thumbnail_after", "thumbnail_before"]
