"""Which of a TIFF's directories are its pages, and which only reductions, thumbnails and masks of them."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..errors import ImageLoadError
from ..image_loading import CAMERA_RAW, DNG_VERSION, RAW_PHOTOMETRICS

NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, LENGTH, BITS, PHOTOMETRIC, SAMPLES = 254, 255, 256, 257, 258, 262, 277
SUB_DIRECTORIES, THUMBNAIL = 330, 513
MASK = 4  # a photometric interpretation, and a bit of NewSubfileType
MOST_SUB_DIRECTORIES, MOST_TAGS = 64, 4096
NONE = -1  # for the offset of a directory
REDUCED = 0.75  # of the sides: pages of nearly the same size are no reductions of one another
ALIKE = 0.9  # correlation of small copies
NEAR = 8  # directories between a reduction and what it reduces
SAMPLE = 16  # comparisons that speak for all that follow


@dataclass(frozen=True)
class Directory:
    """An image file directory: where it is, sides as stored, what it is; `page` counts the main chain from 1.

    It is `deep` with more than 8 bits a sample, and `opaque` where there is no room for opacity beside its colors.
    """

    offset: int
    page: int
    width: int
    height: int
    reduced: bool
    mask: bool
    deep: bool = False
    opaque: bool = True

    def is_smaller(self, other: "Directory") -> bool:
        """Whether it may be a reduction of the other: of the same shape, at most three quarters as long."""
        difference = abs(self.width * other.height - self.height * other.width)
        return self.width <= REDUCED * other.width and difference <= other.width + other.height


def find_directories(stream: IO[bytes], name: str) -> tuple[list[Directory], tuple[str, ...]]:
    """All directories in the order of the main chain, each before its sub-directories, and what was left out of it.

    Raises:
        ImageLoadError: naming a camera raw file, or the page that is not there.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    header = stream.read(16)
    if len(header) < 8 or (_is_big(header) and len(header) < 16):
        raise ImageLoadError(name, "damaged or truncated file (it ends too early)")
    offset = _empty(header).next
    found: list[Directory] = []
    seen: set[int] = set()
    page = 0
    while offset and offset not in seen:
        seen.add(offset)
        page += 1
        following = _following(stream, header, offset, size)
        if following is None:
            raise ImageLoadError(name, f"damaged or truncated file (page {page} is not there)")
        if following == NONE:
            if page != 2:
                raise ImageLoadError(name, f"damaged or truncated file (page {page} is damaged)")
            return found, ("what follows its first page is no page and was left out",)  # old programs leave such
        tags = tags_at(stream, header, offset)
        sub_directories = tags.get(SUB_DIRECTORIES, ())
        sub_directories = sub_directories if isinstance(sub_directories, tuple) else (sub_directories,)
        directories = [(offset, tags)]
        for sub_offset in sub_directories[:MOST_SUB_DIRECTORIES]:
            if _following(stream, header, sub_offset, size) not in (None, NONE):
                directories.append((sub_offset, tags_at(stream, header, sub_offset)))
        for at, tags in directories:
            if DNG_VERSION in tags or tags.get(PHOTOMETRIC) in RAW_PHOTOMETRICS:
                raise ImageLoadError(name, CAMERA_RAW)
            directory = _directory(at, page, tags)
            if directory is not None:
                found.append(directory)
        offset = following
    return found, ()


def find_pages(directories: Sequence[Directory], same: Callable[[Directory, Directory], bool]) -> list[Directory]:
    """Those that are pages: of reductions of one picture the full one, whichever comes first, and no masks.

    What a tag calls a reduction is none where there is nothing larger. Where no tag says so, a smaller picture of the
    same shape next to a larger one is a reduction of it if `same` says that they show the same.
    """
    pictures = [directory for directory in directories if not directory.mask] or list(directories)
    largest = max((picture.width * picture.height for picture in pictures if not picture.reduced), default=0)
    pictures = [each for each in pictures if not each.reduced or each.width * each.height >= largest]
    pages: list[Directory] = []
    verdicts: list[bool] = []
    for index, picture in enumerate(pictures):
        larger = (
            next((other for other in pictures[index + 1 : index + 1 + NEAR] if picture.is_smaller(other)), None),
            next((other for other in pictures[max(index - NEAR, 0) : index][::-1] if picture.is_smaller(other)), None),
        )
        larger = [other for other in larger if other is not None]
        if larger and len(verdicts) < SAMPLE:
            verdicts.append(any(same(picture, other) for other in larger))
            is_reduction = verdicts[-1]
        else:
            is_reduction = bool(larger) and all(verdicts)
        if not is_reduction:
            pages.append(picture)
    return pages


def looks_same(small: np.ndarray, large: np.ndarray) -> bool:
    """Whether two gray pictures of one size, (h, w), are alike but for contrast; flat ones are not."""
    small, large = (picture.astype(np.float64) - picture.mean() for picture in (small, large))
    norms = np.sqrt((small**2).mean()), np.sqrt((large**2).mean())
    return min(norms) > 0.01 and (small * large).mean() > ALIKE * norms[0] * norms[1]


def _empty(header: bytes) -> ImageFileDirectory_v2:
    """A directory still to be read. Pillow tells big TIFFs by the third byte, which in big-endian ones is another."""
    header = header[: 16 if _is_big(header) else 8]
    return ImageFileDirectory_v2(b"II+\0" + header[4:] if _is_big(header) else header, header[:2])


def _is_big(header: bytes) -> bool:
    return header[2:4] in (b"+\0", b"\0+")


def _following(stream: IO[bytes], header: bytes, offset: int, size: int) -> int | None:
    """Offset of the directory after that at `offset`, 0 for none; NONE if this is no directory, None if it is cut."""
    order = "<" if header[:2] == b"II" else ">"
    count_format, entry, next_format = ("Q", 20, "Q") if _is_big(header) else ("H", 12, "I")
    stream.seek(min(offset, size))
    raw = stream.read(struct.calcsize(count_format))
    if len(raw) < struct.calcsize(count_format):
        return None
    (count,) = struct.unpack(order + count_format, raw)
    end = stream.tell() + entry * count
    if not 0 < count <= MOST_TAGS:
        return NONE
    if end > size:
        return None
    stream.seek(end)
    raw = stream.read(struct.calcsize(next_format))
    return struct.unpack(order + next_format, raw)[0] if len(raw) == struct.calcsize(next_format) else 0


def tags_at(stream: IO[bytes], header: bytes, offset: int) -> ImageFileDirectory_v2:
    """The tags of the directory at `offset`; `header` is the first 16 bytes of the file."""
    tags = _empty(header)
    stream.seek(offset)
    tags.load(stream)
    return tags


def _directory(offset: int, page: int, tags: ImageFileDirectory_v2) -> Directory | None:
    """None for the thumbnail of an EXIF block, a JPEG that has no size of its own."""
    width, height = (tags.get(tag) for tag in (WIDTH, LENGTH))
    if not isinstance(width, int) or not isinstance(height, int):
        if THUMBNAIL in tags:
            return None
        width, height = 0, 0  # which is an error, once it is read
    kind = tags.get(NEW_SUBFILE_TYPE, 0)
    kind = kind if isinstance(kind, int) else 0
    reduced = bool(kind & 1) or tags.get(SUBFILE_TYPE) == 2
    mask = bool(kind & MASK) or tags.get(PHOTOMETRIC) == MASK
    bits = tags.get(BITS, 1)
    deep = any(depth not in range(9) for depth in (bits if isinstance(bits, tuple) else (bits,)))
    return Directory(offset, page, width, height, reduced, mask, deep, tags.get(SAMPLES, 1) in (1, 3))
