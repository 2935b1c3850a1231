"""Any picture file -> upright luminance at full precision, or sRGB colors, with one kind of error.

Pillow opens the files. Its different exceptions for every kind of damage become one here; what it gets wrong about
pixels is put right in image_decoding.py.
"""

import contextlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TypeVar

import numpy as np
from PIL import Image

from .array_decoding import array_luminance
from .errors import ImageLoadError
from .image_decoding import StoredPicture, pillow_reason
from .pixel_blocks import check_size, too_large
from .strict_pillow import strict_pillow

# Formats that Pillow may try. Others it knows run programs (EPS starts Ghostscript) or are rarely tested parsers.
# MPO is what Pillow calls a JPEG that holds several pictures; it is found through JPEG and has no entry of its own.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "AVIF")
ACCEPTED_FORMATS = "JPEG, MPO, PNG, TIFF, WebP, BMP, GIF and AVIF"

# What people hand over by mistake, told apart from a damaged picture: offset, bytes at that offset, what it is.
OTHER_FORMATS = (
    (0, b"%PDF", "a PDF document"),
    (0, b"8BPS", "a Photoshop document"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (0, b"<svg", "an SVG drawing"),
)

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """Luminance of one picture.

    name: what messages call the picture.
    gray: (H, W) sRGB-coded relative luminance in displayed orientation. uint8 where the file says so exactly (8-bit
        gray, or color with R = G = B everywhere, no profile to convert from), uint16 (0..65535) from 16-bit gray,
        color and converted profiles, float32 (0..1) from float data.
    alpha: (H, W) uint8 opacity in displayed orientation, None where the file has none.
    format: Pillow's name of the file format, "PIL" for images made in memory, "array" for arrays.
    was_color: whether any pixel had R, G and B that differ.
    notes: what had to be assumed, ignored or left out, one sentence each.
    """

    name: str
    gray: np.ndarray
    alpha: np.ndarray | None
    format: str
    was_color: bool
    notes: tuple[str, ...]

    def as_shown(self, mode: str) -> Image.Image:
        """The picture before it gets colors, in 8-bit gray, as a Pillow image of `mode` L, RGB, LA or RGBA."""
        gray = self.gray
        if gray.dtype != np.uint8:
            gray = np.rint(gray * np.float32(255 / np.iinfo(gray.dtype).max if gray.dtype.kind == "u" else 255))
        picture = Image.fromarray(gray.astype(np.uint8)).convert(mode)
        if self.alpha is not None and mode.endswith("A"):
            picture.putalpha(Image.fromarray(self.alpha))
        return picture


def load_image(
    source: str | os.PathLike | bytes | Image.Image | np.ndarray,
    *,
    max_pixels: int = 200_000_000,
    name: str | None = None,
) -> LoadedImage:
    """Luminance of a picture: a path, the bytes of a file, a PIL image, or an array of (H, W) or (H, W, 1, 3 or 4).

    8-bit gray stays exactly as it is. Color is reduced to relative luminance Y of linear sRGB, sRGB-coded. 16-bit gray
    is 0..65535; 32-bit integers count as 16-bit and have to lie in that range; float data has to lie in 0..1. An
    embedded profile is converted to sRGB first; one that means sRGB changes nothing, so the promise that every gray
    value of an 8-bit picture survives colorization holds for the file's own values then, and otherwise for the
    converted ones. Of several pages or frames the first is read. PIL images are taken at their current frame, and
    those already decoded at Pillow's word. URLs are not fetched.

    Raises:
        ImageLoadError: naming anything that cannot be read as a picture, or has more than `max_pixels` pixels (looked
            up in the header, before decoding).
        TypeError: for other kinds of source.
        ValueError: if `max_pixels` is not a whole number of at least 1.
    """
    if isinstance(source, np.ndarray):
        name = name or "<array>"
        _check_limit(max_pixels)
        with _enough_memory(name):
            gray, alpha, was_color = array_luminance(source, name, max_pixels)
            return LoadedImage(name, gray, alpha, "array", was_color, ())

    def finish(picture: StoredPicture) -> LoadedImage:
        gray, was_color = picture.luminance()
        alpha, file_format = picture.alpha(), picture.image.format or "PIL"
        return LoadedImage(picture.name, gray, alpha, file_format, was_color, tuple(dict.fromkeys(picture.notes)))

    return _read(source, name, max_pixels, finish)


def load_color(
    source: str | os.PathLike | bytes | Image.Image,
    *,
    max_pixels: int = 200_000_000,
    name: str | None = None,
    short_side: int | None = None,
) -> Image.Image:
    """Colors of a picture: a path, the bytes of a file or a PIL image -> a PIL image of mode RGB, displayed sRGB.

    Read by the rules of `load_image`: upright, an embedded profile converted, opacity left out; more than 8 bits a
    channel are rounded to 8. Nothing of the file's metadata is left in the result, so nobody applies it twice.

    Args:
        source: what is read.
        max_pixels: that the picture may have.
        name: what messages call the picture.
        short_side: that is enough: a JPEG is decoded at a half, a quarter or an eighth of its size, which is several
            times faster, where both sides stay at least so long. `None`: the whole picture.

    Raises:
        ImageLoadError: naming anything that cannot be read as a picture, or has more than `max_pixels` pixels.
        TypeError: for other kinds of source.
        ValueError: if `max_pixels` is not a whole number of at least 1.
    """
    return _read(source, name, max_pixels, StoredPicture.color, short_side)


# ----- opening and decoding


def _read(
    source: str | os.PathLike | bytes | Image.Image,
    name: str | None,
    max_pixels: int,
    finish: Callable[[StoredPicture], Result],
    short_side: int | None = None,
) -> Result:
    """What `finish` makes of the decoded picture of a path, of bytes or of a PIL image."""
    _check_limit(max_pixels)
    if isinstance(source, Image.Image):
        name = name or str(getattr(source, "filename", "") or "<PIL image>")
        stream = contextlib.nullcontext(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name = name or "<bytes>"
        stream = io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        name = name or path
        stream = _open_file(path, name)
    else:
        accepted = "a path, bytes, a PIL image or a NumPy array"
        raise TypeError(f"cannot load a picture from {type(source).__name__}; accepted are {accepted}")
    with _enough_memory(name), stream as opened, strict_pillow(max_pixels):
        return finish(_decode(opened, name, max_pixels, short_side))


def _check_limit(max_pixels: int) -> None:
    if not isinstance(max_pixels, int) or max_pixels < 1:
        raise ValueError(f"max_pixels must be a whole number of at least 1, got {max_pixels!r}")


@contextlib.contextmanager
def _enough_memory(name: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ImageLoadError(name, "not enough memory for a picture of this size") from error


def _open_file(path: str, name: str) -> io.BufferedReader:
    if re.match(r"(https?|ftp|data|file):", path):
        raise ImageLoadError(name, "URLs are not fetched; give a file on this machine")
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageLoadError(name, "is a folder, not a picture file")
        if not stat.S_ISREG(mode):  # opening a named pipe would wait for its writer
            raise ImageLoadError(name, "is not a regular file")
        return open(path, "rb")
    except OSError as error:
        raise ImageLoadError(name, (error.strerror or str(error)).lower()) from error
    except ValueError as error:  # a null character in the path; ImageLoadError is a ValueError too
        raise error if isinstance(error, ImageLoadError) else ImageLoadError(name, str(error)) from error


def _open(stream: IO[bytes], name: str) -> Image.Image:
    """The picture with its header read; what Pillow swallows about files it does not recognize is asked for again."""
    head = stream.read(16)
    if not head:
        raise ImageLoadError(name, "the file is empty")
    try:
        return Image.open(stream, formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        for format_name in FORMATS:
            factory, accept = Image.OPEN[format_name]
            accepted = accept is not None and accept(head)
            if isinstance(accepted, str):  # this build of Pillow lacks the decoder
                raise ImageLoadError(name, accepted) from error
            if accepted:
                try:
                    stream.seek(0)
                    factory(stream, name)
                except Exception as detail:
                    reason = f"damaged or unsupported {format_name} file ({pillow_reason(detail)})"
                    raise ImageLoadError(name, reason) from error
        kinds = [kind for offset, mark, kind in OTHER_FORMATS if head.startswith(mark, offset)]
        found = kinds[0] if kinds else "not a picture"
        raise ImageLoadError(name, f"{found}; accepted are {ACCEPTED_FORMATS}") from error


def _decode(source: IO[bytes] | Image.Image, name: str, max_pixels: int, short_side: int | None) -> StoredPicture:
    """Opens and decodes a picture, turning whatever Pillow raises into ImageLoadError."""
    notes: list[str] = []
    try:
        image = source if isinstance(source, Image.Image) else _open(source, name)
        check_size(image.width, image.height, name, max_pixels)
        raw_mode = _raw_mode(image)
        with contextlib.suppress(Exception):  # damage behind the first frame does not concern us
            if getattr(image, "is_animated", False):
                which = f"number {image.tell() + 1}" if image.tell() else "the first"
                notes.append(f"holds several pages or frames; only {which} is read")
        if short_side is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, (short_side, short_side))
        image.load()
        return StoredPicture(image, raw_mode, _orientation(image, notes), name, notes)
    except (ImageLoadError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = int(re.findall(r"\d+", str(error))[0])
        raise ImageLoadError(name, too_large(f"{pixels:,} pixels", max_pixels)) from error
    except Exception as error:
        # Damaged files make the plug-ins raise nearly everything: OSError, SyntaxError, ValueError, struct.error,
        # EOFError, zlib.error, IndexError, KeyError, TypeError, OverflowError, AssertionError, RuntimeError ...
        raise ImageLoadError(name, f"damaged or truncated file ({pillow_reason(error)})") from error


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name for the layout of the samples in the file, "" once decoded: the only place that has the depth."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _orientation(image: Image.Image, notes: list[str]) -> int:
    """EXIF orientation still to be applied, 1 to 8; Pillow applies a TIFF's itself and removes it from the tags."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:
        notes.append("its EXIF data is unreadable; the orientation is taken as stored")
        return 1
    return value if value in range(1, 9) else 1
