"""Color picture -> file, complete or not at all.

PNG, TIFF and WebP are lossless; only for them is every gray value of the input kept. JPEG is written as well as it
can be: quality 95, no chroma subsampling. Everything written is sRGB and says so.
"""

import functools
import io
import os
import secrets
from pathlib import Path
from typing import IO

from PIL import Image, ImageCms, PngImagePlugin

from .errors import UserError
from .picture_formats import FORMAT_OF_SUFFIX

# Pixels per side that the format itself can hold.
LONGEST_SIDE = {"jpeg": 65_500, "webp": 16_383}


class ImageSaveError(UserError, OSError):
    """A picture could not be written; "PATH: reason"."""


def save_image(image: Image.Image, path: str | os.PathLike) -> tuple[str, ...]:
    """Write an sRGB picture in the format that the suffix of `path` names, replacing what was there in one step.

    The picture (mode "L", "RGB" or "RGBA") is written to a hidden file beside `path`, which then takes its name, so
    that neither an error nor an interruption leaves a part of a picture behind. Missing folders are made.
    Returns notes for the user: one line for anything that the format could not keep.

    Raises:
        ImageSaveError: naming the file and the reason (no such format, too large for it, disk full, no permission).
    """
    path = Path(path)
    output_format = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if output_format is None:
        raise ImageSaveError(
            f"{path}: cannot write {path.suffix or 'a name without suffix'}; accepted: {', '.join(FORMAT_OF_SUFFIX)}"
        )
    limit = LONGEST_SIDE.get(output_format)
    if limit and max(image.size) > limit:
        raise ImageSaveError(
            f"{path}: the picture has {image.width} x {image.height} pixels, {output_format.upper()} holds at most "
            f"{limit} a side; choose PNG or TIFF"
        )

    notes = ()
    if output_format == "jpeg" and image.has_transparency_data:
        image = image.convert("RGB")
        notes = ("JPEG has no transparency: the alpha channel is left out",)

    # Not derived from the name: a name of the greatest length that the file system allows must still have a partner.
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                _encode(image, output_format, file)
            partial.replace(path)
        except BaseException:  # an interruption too leaves nothing behind
            partial.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise ImageSaveError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return notes


def _encode(image: Image.Image, output_format: str, file: IO[bytes]) -> None:
    ENCODERS[output_format](image, file)


def _encode_png(image: Image.Image, file: IO[bytes]) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"sRGB", b"\0")  # rendering intent: perceptual
    # Level 4 takes 40 % of the time of the default level 6 for files 5 % larger.
    image.save(file, "PNG", compress_level=4, pnginfo=chunks)


def _encode_jpeg(image: Image.Image, file: IO[bytes]) -> None:
    image.save(file, "JPEG", quality=95, subsampling="4:4:4", icc_profile=srgb_profile())


def _encode_webp(image: Image.Image, file: IO[bytes]) -> None:
    # In lossless mode `quality` is effort: 20 takes a third of the time of 80 for the same size.
    # `exact` keeps the colors of fully transparent pixels.
    image.save(file, "WEBP", lossless=True, quality=20, method=4, exact=True, icc_profile=srgb_profile())


def _encode_tiff(image: Image.Image, file: IO[bytes]) -> None:
    # libtiff writes past Python and hides the reason of a failure (disk full); so it writes to memory.
    memory = io.BytesIO()
    predictor = {317: 2}  # tag Predictor: horizontal differences, which LZW halves once more
    image.save(memory, "TIFF", compression="tiff_lzw", tiffinfo=predictor, icc_profile=srgb_profile())
    file.write(memory.getbuffer())


# By the names of `picture_formats.SUFFIXES`.
ENCODERS = {"png": _encode_png, "jpeg": _encode_jpeg, "webp": _encode_webp, "tiff": _encode_tiff}


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, without the time of its making, so that equal pictures give equal files."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = b"".join(number.to_bytes(2, "big") for number in (2000, 1, 1, 0, 0, 0))  # date and time
    return bytes(profile)


__all__ = ["ImageSaveError", "save_image"]
