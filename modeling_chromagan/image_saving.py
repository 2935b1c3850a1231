"""Color picture -> file, complete or not at all.

PNG, TIFF, JPEG 2000 and WebP are lossless; only for them is every gray value of the input kept. JPEG and AVIF are
written as well as they can be: quality 95, no chroma subsampling. Everything written is sRGB and says so.
"""

import functools
import io
import os
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageCms, PngImagePlugin

from .durable_files import write_file
from .errors import UserError
from .picture_formats import FORMAT_OF_SUFFIX

# Pixels per side that the format itself can hold; of AVIF, that libavif and with it most programs read.
LONGEST_SIDE = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768}

JPEG_SETTINGS: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4"}
# In lossless mode `quality` is effort: 20 takes a third of the time of 80 for the same size.
# `exact` keeps the colors of fully transparent pixels.
WEBP_SETTINGS: dict[str, Any] = {"lossless": True, "quality": 20, "method": 4, "exact": True}
# Speed 8 takes a third of the time of the default 6 for files as large.
AVIF_SETTINGS: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4", "speed": 8, "max_threads": 1}


class ImageSaveError(UserError, OSError):
    """A picture could not be written; "PATH: reason"."""


def save_image(image: Image.Image, path: str | os.PathLike) -> tuple[str, ...]:
    """Write an sRGB picture in the format that the suffix of `path` names, replacing what was there in one step.

    The picture (mode "L", "RGB" or "RGBA") is encoded in memory and written as `durable_files.write_file` does, so
    that neither a full disk nor an error or an interruption leaves a part of it behind. Missing folders are made.
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
    refuse_size(image.width, image.height, output_format, str(path))

    notes = ()
    if output_format == "jpeg" and image.has_transparency_data:
        image = image.convert("RGB")
        notes = ("JPEG has no transparency: the alpha channel is left out",)

    # Not to the file: Pillow's encoders write past Python, overlook short writes, and hide the reasons of failures.
    memory = io.BytesIO()
    try:
        _encode(image, output_format, memory)
        write_file(path, memory.getbuffer())
    except (OSError, ValueError) as error:
        raise ImageSaveError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return notes


def refuse_size(width: int, height: int, output_format: str, name: str) -> None:
    """Raises ImageSaveError for a picture with more pixels a side than the format can hold."""
    limit = LONGEST_SIDE.get(output_format)
    if limit and max(width, height) > limit:
        raise ImageSaveError(
            f"{name}: the picture has {width} x {height} pixels, {output_format.upper()} holds at most {limit} a "
            "side; choose PNG or TIFF"
        )


def _encode(image: Image.Image, output_format: str, file: IO[bytes]) -> None:
    ENCODERS[output_format](image, file)


def _encode_png(image: Image.Image, file: IO[bytes]) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"sRGB", b"\0")  # rendering intent: perceptual
    # Level 4 takes 40 % of the time of the default level 6 for files 5 % larger.
    image.save(file, "PNG", compress_level=4, pnginfo=chunks)


def _encode_jpeg(image: Image.Image, file: IO[bytes]) -> None:
    image.save(file, "JPEG", icc_profile=srgb_profile(), **JPEG_SETTINGS)


def _encode_webp(image: Image.Image, file: IO[bytes]) -> None:
    image.save(file, "WEBP", icc_profile=srgb_profile(), **WEBP_SETTINGS)


def _encode_tiff(image: Image.Image, file: IO[bytes]) -> None:
    predictor = {317: 2}  # tag Predictor: horizontal differences, which LZW halves once more
    image.save(file, "TIFF", compression="tiff_lzw", tiffinfo=predictor, icc_profile=srgb_profile())


def _encode_avif(image: Image.Image, file: IO[bytes]) -> None:
    image.save(file, "AVIF", icc_profile=srgb_profile(), **AVIF_SETTINGS)


def _encode_jp2(image: Image.Image, file: IO[bytes]) -> None:
    image.save(
        file, "JPEG2000", no_jp2=False, irreversible=False, mct=int(image.mode != "L")
    )  # it is sRGB by its header


# By the names of `picture_formats.SUFFIXES`.
ENCODERS = {
    "png": _encode_png,
    "jpeg": _encode_jpeg,
    "webp": _encode_webp,
    "tiff": _encode_tiff,
    "avif": _encode_avif,
    "jp2": _encode_jp2,
}


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, without the time of its making, so that equal pictures give equal files."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = b"".join(number.to_bytes(2, "big") for number in (2000, 1, 1, 0, 0, 0))  # date and time
    return bytes(profile)


__all__ = ["ImageSaveError", "save_image"]
