"""Small pictures of inputs and results, for reports."""

import io
import warnings
from pathlib import Path

from PIL import Image, ImageCms

from .scan import open_scan

SIDE = 160  # pixels, of the longer side
GROUND = 128  # gray behind what is transparent
MOST_PIXELS = 200_000_000  # larger pictures are not shown

PICTURE_ERRORS = (OSError, ValueError, MemoryError, SyntaxError, ImageCms.PyCMSError, Image.DecompressionBombError)


def thumbnail_before(source: Path) -> bytes | None:
    """The first picture of an input as it is, as a JPEG; None where it cannot be read (any more)."""
    try:
        with open_scan(source, name=str(source), max_pixels=MOST_PIXELS) as scan:
            page = next(scan.pages())
            return _encode(page.colors or page.image.as_shown("LA"))
    except PICTURE_ERRORS:
        return None


def thumbnail_after(result: Path) -> bytes | None:
    """The first picture of a result in its colors, as a JPEG; None where it cannot be read (any more)."""
    try:
        with warnings.catch_warnings(), Image.open(result) as picture:
            warnings.simplefilter("ignore")
            if picture.width * picture.height > MOST_PIXELS:
                return None
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at a fraction of its size
            profile = picture.info.get("icc_profile")
            small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
            small.thumbnail((SIDE, SIDE))
            if profile:
                source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
                ImageCms.profileToProfile(small, source, ImageCms.createProfile("sRGB"), inPlace=True)
            return _encode(small)
    except PICTURE_ERRORS:
        return None


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
