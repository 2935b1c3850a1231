"""Any picture file -> its luminance at full precision, upright and in sRGB, with one kind of error.

Pillow opens the files; what it gets wrong for archives (16-bit gray turned white, inverted or byte-swapped TIFFs,
ignored profiles, a different exception for every kind of damage) is put right here and nowhere else.
"""

import contextlib
import ctypes
import io
import logging
import math
import os
import re
import stat
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageCms, ImageFile

from .color import LAB_ROOT_JOINT, LAB_SLOPE
from .color_profiles import gray_curve, linear_to_srgb, reduce_8_bit, reduce_unit, rgb_transform

# Formats that Pillow may try. Others it knows run programs (EPS starts Ghostscript) or are rarely tested parsers.
# MPO is what Pillow calls a JPEG that holds several pictures; it is found through JPEG and has no entry of its own.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "AVIF")
ACCEPTED_FORMATS = "JPEG, MPO, PNG, TIFF, WebP, BMP, GIF and AVIF"

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".avif")
)

# What people hand over by mistake, told apart from a damaged picture: offset, bytes at that offset, what it is.
OTHER_FORMATS = (
    (0, b"%PDF", "a PDF document"),
    (0, b"8BPS", "a Photoshop document"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (0, b"<svg", "an SVG drawing"),
)

BLOCK_PIXELS = 1 << 20  # pixels converted at a time: what is held besides the decoded picture and the result

Box = tuple[int, int, int, int]  # left, top, right, bottom
Reader = Callable[[Box], np.ndarray]  # stored pixels of one box
Conversion = TypeVar("Conversion")

_pillow_lock = threading.RLock()


class ImageLoadError(ValueError):
    """A picture that cannot be used; `str` is one line, "NAME: reason"."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        line = f"{self.name}: {self.reason}"
        return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


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
    if not isinstance(max_pixels, int) or max_pixels < 1:
        raise ValueError(f"max_pixels must be a whole number of at least 1, got {max_pixels!r}")
    try:
        if isinstance(source, np.ndarray):
            return _load_array(source, name or "<array>", max_pixels)
        if isinstance(source, Image.Image):
            name = name or str(getattr(source, "filename", "") or "<PIL image>")
            return _load_pillow(lambda: source, name, max_pixels)
        if isinstance(source, (bytes, bytearray, memoryview)):
            name = name or "<bytes>"
            return _load_pillow(lambda: _open(io.BytesIO(source), name), name, max_pixels)
        if not isinstance(source, (str, os.PathLike)):
            accepted = "a path, bytes, a PIL image or a NumPy array"
            raise TypeError(f"cannot load a picture from {type(source).__name__}; accepted are {accepted}")
        path = os.fsdecode(source)
        name = name or path
        with _open_file(path, name) as stream:
            return _load_pillow(lambda: _open(stream, name), name, max_pixels)
    except MemoryError as error:
        raise ImageLoadError(name or "<array>", "not enough memory for a picture of this size") from error


# ----- opening and decoding


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


@contextlib.contextmanager
def _strict_pillow(max_pixels: int) -> Iterator[None]:
    """Pillow refuses pictures above `max_pixels` and damaged ones, and prints nothing.

    Pillow's limit, its tolerance of truncated files and Python's warning filters belong to the whole process, and a
    server loads for several visitors from several threads. So all changes to them are made, used and taken back
    under one lock: simultaneous loads wait for one another, which also bounds their memory. Threads that use Pillow
    without this loader may meet our limit for that moment and find their own after it. Python's filters can still be
    mixed up by a thread that saves and restores them meanwhile: hence ours concern Pillow alone, in case they stay,
    and `_check_size` repeats the limit before anything is decoded, in case they are lost.
    """
    with _pillow_lock, warnings.catch_warnings(), _silent_libtiff():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged tags of readable pictures
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        handler = logging.NullHandler()  # or Pillow's log messages would be printed where logging is not set up
        logging.getLogger("PIL").addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger("PIL").removeHandler(handler)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


@contextlib.contextmanager
def _silent_libtiff() -> Iterator[None]:
    """Keeps libtiff from printing to standard error itself; what matters of it arrives as Pillow's exception."""
    try:
        set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler  # in a library Pillow has loaded
    except (AttributeError, OSError):  # linked so that it cannot be reached: messages are printed, no harm done
        yield
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    before = set_handler(None)
    try:
        yield
    finally:
        set_handler(before)


def _open(stream: io.BufferedIOBase, name: str) -> Image.Image:
    """The picture with its header read; what Pillow swallows about files it does not recognize is asked for again."""
    head = stream.read(16)
    if not head:
        raise ImageLoadError(name, "the file is empty")
    try:
        return Image.open(stream, formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        for format_name in FORMATS:
            factory, accept = Image.OPEN[format_name]
            accepted = accept(head)
            if isinstance(accepted, str):  # this build of Pillow lacks the decoder
                raise ImageLoadError(name, accepted) from error
            if accepted:
                try:
                    stream.seek(0)
                    factory(stream, name)
                except Exception as detail:
                    reason = f"damaged or unsupported {format_name} file ({_one_line(detail)})"
                    raise ImageLoadError(name, reason) from error
        kinds = [kind for offset, mark, kind in OTHER_FORMATS if head.startswith(mark, offset)]
        found = kinds[0] if kinds else "not a picture"
        raise ImageLoadError(name, f"{found}; accepted are {ACCEPTED_FORMATS}") from error


def _one_line(error: Exception) -> str:
    cause = error.__cause__ or error  # Pillow wraps what its parsers run into as SyntaxError
    if isinstance(cause, (struct.error, IndexError, EOFError)):
        return "it ends too early"
    return " ".join(str(error).split()) or type(error).__name__


def _load_pillow(opener: Callable[[], Image.Image], name: str, max_pixels: int) -> LoadedImage:
    with _strict_pillow(max_pixels):
        picture = _decode(opener, name, max_pixels)
        gray, was_color = picture.luminance()
        alpha = picture.alpha()
    return LoadedImage(
        name, gray, alpha, picture.image.format or "PIL", was_color, tuple(dict.fromkeys(picture.notes))
    )


def _decode(opener: Callable[[], Image.Image], name: str, max_pixels: int) -> "_Picture":
    """Opens and decodes a picture, turning whatever Pillow raises into ImageLoadError."""
    notes: list[str] = []
    try:
        image = opener()
        _check_size(image.width, image.height, name, max_pixels)
        raw_mode = _raw_mode(image)
        with contextlib.suppress(Exception):  # damage behind the first frame does not concern us
            if getattr(image, "is_animated", False):
                which = f"number {image.tell() + 1}" if image.tell() else "the first"
                notes.append(f"holds several pages or frames; only {which} is read")
        image.load()
        return _Picture(image, raw_mode, _orientation(image, notes), name, notes)
    except (ImageLoadError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = int(re.search(r"\d+", str(error)).group())
        raise ImageLoadError(name, _too_large(f"{pixels:,} pixels", max_pixels)) from error
    except Exception as error:
        # Damaged files make the plug-ins raise nearly everything: OSError, SyntaxError, ValueError, struct.error,
        # EOFError, zlib.error, IndexError, KeyError, TypeError, OverflowError, AssertionError, RuntimeError ...
        raise ImageLoadError(name, f"damaged or truncated file ({_one_line(error)})") from error


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageLoadError(name, f"the picture is empty ({width} x {height})")
    if width * height > max_pixels:
        raise ImageLoadError(name, _too_large(f"{width} x {height} = {width * height:,} pixels", max_pixels))


def _too_large(found: str, max_pixels: int) -> str:
    return f"{found} are more than max_pixels = {max_pixels:,}"


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


# ----- blocks


def _boxes(width: int, height: int) -> Iterator[Box]:
    """Boxes of at most BLOCK_PIXELS that cover the picture, row by row."""
    columns = min(width, BLOCK_PIXELS)
    rows = max(1, BLOCK_PIXELS // columns)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


def _assemble(width: int, height: int, orientation: int, dtype: type, read: Reader) -> np.ndarray:
    """Displayed picture (H, W) of `dtype` from a stored one of `width` x `height`, read block by block."""
    displayed = np.empty((width, height) if orientation >= 5 else (height, width), dtype)
    stored = {  # a view: writing stored pixels into it turns them without a second copy of the picture
        1: displayed,
        2: displayed[:, ::-1],
        3: displayed[::-1, ::-1],
        4: displayed[::-1],
        5: displayed.T,
        6: np.rot90(displayed),
        7: displayed[::-1, ::-1].T,
        8: np.rot90(displayed, -1),
    }[orientation]
    for left, top, right, bottom in _boxes(width, height):
        stored[top:bottom, left:right] = read((left, top, right, bottom))
    return displayed


def _checked_range(width: int, height: int, read: Reader, limit: int, name: str) -> None:
    """Refuses values outside 0..limit and NaN, naming what was found."""
    lowest, highest = math.inf, -math.inf
    for box in _boxes(width, height):
        values = read(box)
        # NaN passes through min and max, and is not swallowed by NumPy's minimum as it is by Python's
        lowest, highest = np.minimum(lowest, values.min()), np.maximum(highest, values.max())
    if np.isnan(lowest):
        raise ImageLoadError(name, "contains NaN (not a number)")
    if lowest < 0 or highest > limit:
        kind, digits = ("float", ".9g") if limit == 1 else ("integer", ".0f")
        found = f"{kind} values from {lowest:{digits}} to {highest:{digits}}"
        raise ImageLoadError(name, f"{found}; accepted are 0 to {limit}")


def _all_gray(width: int, height: int, read: Reader) -> bool:
    for box in _boxes(width, height):
        pixels = read(box)
        if not ((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all()):
            return False
    return True


# ----- pictures opened by Pillow


class _Picture:
    """A decoded Pillow image, read block by block."""

    def __init__(self, image: Image.Image, raw_mode: str, orientation: int, name: str, notes: list[str]):
        premultiplied = {"La": "LA", "RGBa": "RGBA"}
        self.image = image.convert(premultiplied[image.mode]) if image.mode in premultiplied else image
        self.raw_mode, self.orientation, self.name, self.notes = raw_mode, orientation, name, notes
        self.tags = getattr(image, "tag_v2", {})  # of a TIFF

    def luminance(self) -> tuple[np.ndarray, bool]:
        """Displayed sRGB-coded luminance, and whether the picture had color."""
        self._refuse_misread()
        mode = self.image.mode
        if mode in ("1", "L", "LA"):
            return self._eight_bit_gray(), False
        if mode in ("P", "PA"):
            return self._palette()
        if mode.startswith("I;16"):
            return self._sixteen_bit_gray(), False
        if mode in ("I", "F"):
            return self._thirty_two_bit_gray(), False
        if mode == "LAB":
            return self._lab()
        return self._color()

    def alpha(self) -> np.ndarray | None:
        """Displayed opacity, (H, W) uint8, from an alpha channel, a palette with opacities or a transparent color."""
        image, key = self.image, self.image.info.get("transparency")
        if "A" in image.getbands() and image.mode != "LAB":
            return self._assemble(np.uint8, lambda box: np.asarray(image.crop(box).getchannel("A")))
        if image.mode == "P":
            table = np.full(256, 255, np.uint8)
            if image.palette is not None and image.palette.mode == "RGBA":
                opacities = image.getpalette("RGBA")[3::4]
                table[: len(opacities)] = opacities
            elif isinstance(key, bytes):
                table[: len(key)] = np.frombuffer(key, np.uint8)[:256]
            elif isinstance(key, int):
                table[key] = 0
            else:
                return None
            return self._assemble(np.uint8, lambda box: table[np.asarray(image.crop(box))])
        if key is None or image.mode not in ("1", "L", "RGB", "I;16"):
            return None
        # PNG gives the transparent color in the file's own depth, Pillow the pixels in 8 bits.
        if image.mode == "RGB":
            color = np.array(key) >> 8 if self._is_16_bit_color() else np.array(key)
            return self._assemble(
                np.uint8, lambda box: np.where((np.asarray(image.crop(box)) == color).all(-1), 0, 255)
            )
        level = key * {"L;2": 85, "L;4": 17}.get(self.raw_mode, 1)
        if image.mode == "1":
            level = key > 0
        return self._assemble(np.uint8, lambda box: np.where(np.asarray(image.crop(box)) == level, 0, 255))

    def _assemble(self, dtype: type, read: Reader) -> np.ndarray:
        return _assemble(*self.image.size, self.orientation, dtype, read)

    def _is_16_bit_color(self) -> bool:
        return re.search(r";16[LBN]$", self.raw_mode) is not None and not self.image.mode.startswith("I")

    def _refuse_misread(self) -> None:
        if self._is_16_bit_color():
            self.notes.append("16 bits per color channel are read as 8, which is all that Pillow gives")
        elif self.raw_mode and max(self.tags.get(258, (8,))) == 16 and self.image.mode in ("RGB", "RGBA", "CMYK"):
            # Uncompressed planes of 16 bits: Pillow reads every byte as a sample and returns noise.
            raise ImageLoadError(self.name, "uncompressed 16-bit color TIFFs in separate planes cannot be read")

    def _white_is_zero(self) -> bool:
        """Whether the TIFF says so and Pillow has not inverted it, which it does up to 8 bits only."""
        return self.tags.get(262) == 0 and self.raw_mode in ("I;16", "I;16N", "F;32F", "F;32BF")

    def _from_profile(self, wanted: str, build: Callable[[ImageCms.ImageCmsProfile], Conversion]) -> Conversion | None:
        """What `build` makes of the embedded profile; None, with a note, if it is unusable or for another space."""
        if "icc_profile" not in self.image.info:
            return None
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(self.image.info["icc_profile"]))
            space = profile.profile.xcolor_space.strip()
            if space == wanted:
                return build(profile)
            if (wanted, space) == ("GRAY", "RGB") and gray_curve(profile) is None:
                return None  # sRGB, which many programs embed in gray pictures too
            reason = f"it is for {space}, the picture is {wanted}"
        except Exception as error:  # profiles are damaged in as many ways as files
            reason = _one_line(error)
        self.notes.append(f"its embedded color profile is unusable ({reason}) and was ignored")
        return None

    def _eight_bit_gray(self) -> np.ndarray:
        image = self.image

        def read(box: Box) -> np.ndarray:
            block = image.crop(box)
            return np.asarray(block.getchannel("L") if image.mode == "LA" else block.convert("L"))

        curve = self._from_profile("GRAY", gray_curve)
        if curve is None:
            return self._assemble(np.uint8, read)
        levels = curve[::257]
        return self._assemble(np.uint16, lambda box: levels[read(box)])

    def _palette(self) -> tuple[np.ndarray, bool]:
        """Reduces the colors that are used, as a picture of 256 pixels, and looks the pixels up in the result."""
        image = self.image
        entries = np.zeros((256, 3), np.uint8)
        palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
        entries[: len(palette)] = palette
        used = np.array((image.getchannel("P") if image.mode == "PA" else image).histogram()[:256]) > 0
        entries[~used] = entries[used][0]  # colors that no pixel has do not make a gray picture a colored one
        colors = Image.fromarray(entries[np.newaxis])
        if "icc_profile" in image.info:
            colors.info["icc_profile"] = image.info["icc_profile"]
        table, was_color = _Picture(colors, "", 1, self.name, self.notes).luminance()
        table = table[0]

        def read(box: Box) -> np.ndarray:
            block = image.crop(box)
            return table[np.asarray(block.getchannel("P") if image.mode == "PA" else block)]

        return self._assemble(table.dtype, read), was_color

    def _sixteen_bit_gray(self) -> np.ndarray:
        curve = self._from_profile("GRAY", gray_curve)

        def read(box: Box) -> np.ndarray:
            values = np.asarray(self.image.crop(box)).astype(np.uint16)
            if self.raw_mode == "I;12":  # Pillow leaves 12-bit samples at 0..4095
                values = (values << 4) | (values >> 8)
            if self._white_is_zero():
                values = 65535 - values
            return values if curve is None else curve[values]

        return self._assemble(np.uint16, read)

    def _thirty_two_bit_gray(self) -> np.ndarray:
        is_float = self.image.mode == "F"
        # Pillow swaps the bytes of big-endian compressed TIFFs twice: libtiff has done it already.
        compressed = self.image.info.get("compression", "raw") != "raw"
        swapped = compressed and sys.byteorder == "little" and self.raw_mode in ("I;16BS", "I;32BS", "F;32BF")

        def read(box: Box) -> np.ndarray:
            values = np.asarray(self.image.crop(box))
            if swapped:
                values = values.astype(np.int16) if self.raw_mode == "I;16BS" else values
                values = values.byteswap()
            return values.view(np.uint32) if self.raw_mode == "I;32N" else values

        _checked_range(*self.image.size, read, 1 if is_float else 65535, self.name)
        curve = self._from_profile("GRAY", gray_curve)
        if not is_float:
            return self._assemble(np.uint16, read if curve is None else lambda box: curve[read(box)])

        def read_unit(box: Box) -> np.ndarray:
            values = 1 - read(box) if self._white_is_zero() else read(box)
            return values if curve is None else np.interp(values, np.linspace(0, 1, 65536), curve / 65535)

        return self._assemble(np.float32, read_unit)

    def _lab(self) -> tuple[np.ndarray, bool]:
        """L is a function of luminance alone: Lab pictures hold what we look for."""
        root = (np.arange(256) / 255 * 100 + 16) / 116
        luminance = np.where(root > LAB_ROOT_JOINT, root**3, (root - 16 / 116) / LAB_SLOPE)
        table = np.rint(linear_to_srgb(luminance) * 65535).astype(np.uint16)
        gray = self._assemble(np.uint16, lambda box: table[np.asarray(self.image.crop(box).getchannel("L"))])
        return gray, self.image.getextrema()[1:] != ((128, 128), (128, 128))

    def _color(self) -> tuple[np.ndarray, bool]:
        image = self.image
        space = "CMYK" if image.mode == "CMYK" else "RGB"
        transform = self._from_profile(space, lambda profile: rgb_transform(profile, space))

        def read_stored(box: Box) -> np.ndarray:
            """RGB before the profile; CMYK, which has no gray axis of its own, after it."""
            block = image.crop(box)
            if space == "CMYK" and transform is not None:
                return np.asarray(transform.apply(block))
            return np.asarray(block if block.mode == "RGB" else block.convert("RGB"))

        def read_srgb(box: Box) -> np.ndarray:
            stored = read_stored(box)
            if space == "CMYK" or transform is None:
                return stored
            return np.asarray(transform.apply(Image.fromarray(stored)))

        if not _all_gray(*image.size, read_stored):
            return self._assemble(np.uint16, lambda box: reduce_8_bit(read_srgb(box))), True
        curve = self._from_profile("RGB", gray_curve) if space == "RGB" else None
        if curve is None:
            return self._assemble(np.uint8, lambda box: read_stored(box)[..., 0]), False
        return self._assemble(np.uint16, lambda box: curve[read_stored(box)[..., 0]]), False


# ----- arrays


def _load_array(array: np.ndarray, name: str, max_pixels: int) -> LoadedImage:
    """Arrays follow the rules of files: uint8, uint16, 32-bit integers of 0..65535 and floats of 0..1."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        accepted = "(H, W), (H, W, 1), (H, W, 3) and (H, W, 4)"
        raise ImageLoadError(name, f"an array of shape {array.shape}; accepted are {accepted}")
    height, width = array.shape[:2]
    _check_size(width, height, name, max_pixels)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        _checked_range(width, height, lambda box: _crop(array, box), 1, name)
    elif array.dtype.kind in "iu" and array.dtype.itemsize == 4:
        _checked_range(width, height, lambda box: _crop(array, box), 65535, name)
    elif array.dtype.kind != "u" or array.dtype.itemsize > 2:
        accepted = "bool, uint8, uint16, int32 and uint32 (0..65535), float16, float32 and float64 (0..1)"
        raise ImageLoadError(name, f"an array of {array.dtype}; accepted are {accepted}")

    white, target = {"f": (1, np.float32)}.get(array.dtype.kind, (65535, np.uint16))
    if array.dtype == np.uint8:
        white, target = 255, np.uint8
    first = array if array.ndim == 2 else array[..., 0]
    alpha, was_color = None, False
    if array.ndim == 3 and array.shape[2] == 4:
        alpha = _assemble(width, height, 1, np.uint8, lambda box: np.rint(_crop(array, box)[..., 3] * (255 / white)))
    if array.ndim == 3 and array.shape[2] >= 3:
        was_color = not _all_gray(width, height, lambda box: _crop(array, box))

    def read_color(box: Box) -> np.ndarray:
        rgb = _crop(array, box)[..., :3]
        if target == np.uint8:
            return reduce_8_bit(rgb)
        luminance = reduce_unit(rgb / white)
        return luminance if target == np.float32 else np.rint(luminance * 65535)

    if was_color:
        gray = _assemble(width, height, 1, np.uint16 if target == np.uint8 else target, read_color)
    else:
        gray = _assemble(width, height, 1, target, lambda box: _crop(first, box))
    return LoadedImage(name, gray, alpha, "array", was_color, ())


def _crop(array: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return array[top:bottom, left:right]
