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
from .jpeg2000_header import jpeg2000_header
from .pixel_blocks import at_depth, check_size, too_large
from .strict_pillow import strict_pillow

# Formats that Pillow may try. Others it knows run programs (EPS starts Ghostscript) or are rarely tested parsers.
# MPO is what Pillow calls a JPEG that holds several pictures; it is found through JPEG and has no entry of its own.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "AVIF")
ACCEPTED_FORMATS = "JPEG, MPO, PNG, TIFF, WebP, BMP, GIF, JPEG 2000 and AVIF"
JPEG2000 = ("jp2", "j2k")  # raw modes
PLUGGED_IN = "HEIF"  # what Pillow opens too once the program has registered pillow_heif

# What people hand over by mistake, told apart from a damaged picture: offset, bytes at that offset, what it is.
CAMERA_RAW = "a camera raw file; develop it to TIFF with the camera's or a raw program first"
HEIC = 'a HEIC picture, which needs: pip install "chromagan[heic]"'
OTHER_FORMATS = (
    (0, b"%PDF", "a PDF document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"<svg", "an SVG drawing"),
    *((4, b"ftyp" + brand, HEIC) for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    (0, b"\xff\n", "a JPEG XL picture, which `chromagan colorize` reads"),
    (4, b"JXL ", "a JPEG XL picture, which `chromagan colorize` reads"),
    (0, b"FUJIFILMCCD-RAW", CAMERA_RAW),  # RAF
    (4, b"ftypcrx ", CAMERA_RAW),  # CR3
    (0, b"IIRO", CAMERA_RAW),  # ORF
    (0, b"IIRS", CAMERA_RAW),
    (0, b"MMOR", CAMERA_RAW),
    (0, b"IIU\0", CAMERA_RAW),  # RW2
    (0, b"FOVb", CAMERA_RAW),  # X3F
    (0, b"\0MRM", CAMERA_RAW),
    (8, b"CR\2", CAMERA_RAW),  # CR2, which is a TIFF too, of a small picture
)
RAW_PHOTOMETRICS = (32803, 34892)  # color filter array, linear raw: DNG 1.7, and raw files that are TIFFs
DNG_VERSION = 50706

NO_MEMORY = "not enough memory for a picture of this size"

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """Luminance of one picture.

    name: what messages call the picture.
    gray: (H, W) sRGB-coded relative luminance in displayed orientation. uint8 where the file says so exactly (8-bit
        gray, or color with R = G = B everywhere, no profile to convert from), uint16 (0..65535) from 16-bit gray,
        color and converted profiles, float32 (0..1) from float data.
    alpha: (H, W) opacity in displayed orientation: uint8, or uint16 (0..65535) where it was read at more than 8
        bits; None where the file has none.
    format: Pillow's name of the file format, "PIL" for images made in memory, "array" for arrays.
    was_color: whether any pixel had R, G and B that differ.
    notes: what had to be assumed, ignored or left out, one sentence each.
    stored: (H, W) gray values as the file has them, before its profile was applied: `gray` itself where there was none
        to apply, None where luminance was made from colors.
    profile: the ICC profile by which `gray` was made of `stored`, b"" where they are the same or there is no `stored`.
    """

    name: str
    gray: np.ndarray
    alpha: np.ndarray | None
    format: str
    was_color: bool
    notes: tuple[str, ...]
    stored: np.ndarray | None = None
    profile: bytes = b""

    def as_shown(self, mode: str) -> Image.Image:
        """The picture before it gets colors, in 8-bit gray, as a Pillow image of `mode` L, RGB, LA or RGBA."""
        gray = self.gray
        if gray.dtype != np.uint8:
            gray = np.rint(gray * np.float32(255 / np.iinfo(gray.dtype).max if gray.dtype.kind == "u" else 255))
        picture = Image.fromarray(gray.astype(np.uint8)).convert(mode)
        if self.alpha is not None and mode.endswith("A"):
            picture.putalpha(Image.fromarray(at_depth(self.alpha, 8)))
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

    return _read(source, name, max_pixels, loaded)


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


def open_image(stream: IO[bytes], name: str, max_pixels: int) -> Image.Image:
    """The picture of an open file with its header read, not yet decoded, and within the limit.

    Raises:
        ImageLoadError: naming what is no picture, or too large a one.
    """
    with strict_pillow(max_pixels), one_error(name, max_pixels):
        image = _open(stream, name)
        if not isinstance(image.info.get("xmp", b""), bytes):  # a TIFF's tag of another type, which fails Pillow later
            del image.info["xmp"]
        check_size(image.width, image.height, name, max_pixels)
        return image


def decode_image(image: Image.Image, name: str, max_pixels: int, short_side: int | None = None) -> StoredPicture:
    """An opened picture, decoded at its current page or frame; what is read of it is in `strict_pillow` too.

    Raises:
        ImageLoadError: naming what is damaged, or too large a picture.
    """
    with strict_pillow(max_pixels), one_error(name, max_pixels):
        check_size(image.width, image.height, name, max_pixels)
        notes: list[str] = []
        raw_mode = raw_mode_of(image)
        stream = getattr(image, "fp", None)
        header = jpeg2000_header(stream) if raw_mode in JPEG2000 and stream is not None else None
        if short_side is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, (short_side, short_side))
        image.load()
        return StoredPicture(image, raw_mode, _orientation(image, notes), name, notes, header)


def loaded(picture: StoredPicture) -> LoadedImage:
    """Luminance and opacity of a decoded picture."""
    gray, was_color = picture.luminance()
    alpha, notes = picture.alpha(), tuple(dict.fromkeys(picture.notes))
    return LoadedImage(picture.name, gray, alpha, picture.format, was_color, notes, picture.stored, picture.profile)


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
        stream = open_file(path, name)
    else:
        accepted = "a path, bytes, a PIL image or a NumPy array"
        raise TypeError(f"cannot load a picture from {type(source).__name__}; accepted are {accepted}")
    with _enough_memory(name), stream as opened, strict_pillow(max_pixels):
        image = opened if isinstance(opened, Image.Image) else open_image(opened, name, max_pixels)
        notes = []
        with contextlib.suppress(Exception):  # damage behind the first frame does not concern us
            if getattr(image, "is_animated", False):
                which = f"number {image.tell() + 1}" if image.tell() else "the first"
                notes.append(f"holds several pages or frames; only {which} is read")
        picture = decode_image(image, name, max_pixels, short_side)
        picture.notes[:0] = notes
        return finish(picture)


def _check_limit(max_pixels: int) -> None:
    if not isinstance(max_pixels, int) or max_pixels < 1:
        raise ValueError(f"max_pixels must be a whole number of at least 1, got {max_pixels!r}")


@contextlib.contextmanager
def _enough_memory(name: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ImageLoadError(name, NO_MEMORY) from error


def open_file(path: str, name: str) -> io.BufferedReader:
    """A file on this machine, opened for reading.

    Raises:
        ImageLoadError: naming what is no file that can be read.
    """
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


def refuse_camera_raw(head: bytes, name: str) -> None:
    """Refuses, by the first 16 bytes, raw files, of which some are TIFFs of a small picture besides.

    Raises:
        ImageLoadError: naming the file.
    """
    if any(kind == CAMERA_RAW and head.startswith(mark, offset) for offset, mark, kind in OTHER_FORMATS):
        raise ImageLoadError(name, CAMERA_RAW)


def _open(stream: IO[bytes], name: str) -> Image.Image:
    """The picture with its header read; what Pillow swallows about files it does not recognize is asked for again."""
    head = stream.read(16)
    if not head:
        raise ImageLoadError(name, "the file is empty")
    refuse_camera_raw(head, name)
    kinds = [kind for offset, mark, kind in OTHER_FORMATS if head.startswith(mark, offset)]
    formats = FORMATS
    if PLUGGED_IN in Image.OPEN:  # before AVIF, whose plug-in cannot tell that "mif1" is not its own
        formats, kinds = (PLUGGED_IN, *FORMATS), [kind for kind in kinds if kind != HEIC]
    try:
        image = Image.open(stream, formats=formats)
    except Image.UnidentifiedImageError as error:
        for format_name in formats:
            factory, accept = Image.OPEN[format_name]
            accepted = accept is not None and accept(head)
            if kinds and format_name == "AVIF":  # "mif1" may be either
                continue
            if isinstance(accepted, str):  # this build of Pillow lacks the decoder
                raise ImageLoadError(name, accepted) from error
            if accepted:
                try:
                    stream.seek(0)
                    factory(stream, name)
                except Exception as detail:
                    reason = f"damaged or unsupported {format_name} file ({pillow_reason(detail)})"
                    raise ImageLoadError(name, reason) from error
        raise ImageLoadError(name, f"{(*kinds, 'not a picture')[0]}; accepted are {ACCEPTED_FORMATS}") from error
    tags = getattr(image, "tag_v2", {})
    if DNG_VERSION in tags or tags.get(262) in RAW_PHOTOMETRICS:
        raise ImageLoadError(name, CAMERA_RAW)
    return image


@contextlib.contextmanager
def one_error(name: str, max_pixels: int) -> Iterator[None]:
    """Turns whatever Pillow raises into ImageLoadError."""
    try:
        yield
    except ImageLoadError:
        raise
    except MemoryError as error:
        raise ImageLoadError(name, NO_MEMORY) from error
    except Image.DecompressionBombError as error:
        pixels = int(re.findall(r"\d+", str(error))[0])
        raise ImageLoadError(name, too_large(f"{pixels:,} pixels", max_pixels)) from error
    except Exception as error:
        # Damaged files make the plug-ins raise nearly everything: OSError, SyntaxError, ValueError, struct.error,
        # EOFError, zlib.error, IndexError, KeyError, TypeError, OverflowError, AssertionError, RuntimeError ...
        raise ImageLoadError(name, f"damaged or truncated file ({pillow_reason(error)})") from error


def raw_mode_of(image: Image.Image) -> str:
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
