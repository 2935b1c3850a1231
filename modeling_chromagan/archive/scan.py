"""A file of an archive, opened: its pages or frames one at a time, each with all that it says."""

import contextlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path, PurePath
from typing import IO

from PIL import Image

from ..errors import ImageLoadError
from ..image_decoding import StoredPicture
from ..image_loading import (
    CAMERA_RAW,
    decode_image,
    loaded,
    one_error,
    open_file,
    open_image,
    refuse_camera_raw,
)
from ..jpeg2000_header import jpeg2000_header
from ..picture_formats import RAW_SUFFIXES
from ..strict_pillow import strict_pillow
from .already_color import shows_color
from .deep_pictures import read_deep
from .deep_samples import DeepSamples
from .jpeg_xl import is_jpeg_xl, read_header, read_samples
from .metadata import Metadata
from .metadata_containers import readable_png
from .metadata_reading import read_boxes, read_metadata
from .pages import Page
from .tiff_scan import TiffPages, is_tiff

with contextlib.suppress(ImportError):  # an extra; where it is missing, a HEIC picture is refused with its name
    import pillow_heif

    pillow_heif.register_heif_opener()

FRAMES = ("GIF", "PNG", "WEBP", "AVIF")  # whose pictures follow one another in time; those of others do not
FOR_EVER = 0
PAGE_ROOM = 1 << 16  # bytes, of what a page says besides its pixels; of few pages it may be more


class Scan(ABC):
    """An open file.

    name: what messages call it.
    format: Pillow's name of the file's format, or "JPEGXL".
    layout: "single", "pages" or "frames": how its pictures belong together.
    count: of its pages or frames.
    largest: pixels of the largest one.
    loops: how often frames are played, 0 for ever; None for what is not frames.
    compression: of a TIFF: "lzw", "deflate", "none"; None for others.
    profile: embedded ICC bytes, b"" for none; of pages the first one's.
    notes: what had to be left out, one sentence each; the pages have notes of their own.
    """

    format: str
    layout = "single"
    count = 1
    largest: int
    loops: int | None = None
    compression: str | None = None
    profile = b""
    notes: tuple[str, ...] = ()

    def __init__(self, name: str, max_pixels: int):
        self.name, self.max_pixels = name, max_pixels

    def __enter__(self) -> "Scan":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most have read their file
        """Closes the file."""

    def written_bytes(self, depth: str) -> int:
        """Bytes of its pages in color, with what they say: at their depth ("same"), or "8" or "16" bits a channel."""
        return self.count * (self.largest * _pixel_bytes(depth, deep=True, opaque=False) + PAGE_ROOM)

    def pages(self) -> Iterator[Page]:
        """The pages or frames in order, decoded one at a time, at each call from the first.

        Raises:
            ImageLoadError: naming what cannot be read; of several pages or frames, which.
        """
        pages = self._pages()
        while True:
            with strict_pillow(self.max_pixels), one_error(self.name, self.max_pixels):
                page = next(pages, None)
            if page is None:
                return
            yield page

    @abstractmethod
    def _pages(self) -> Iterator[Page]: ...

    def _page(
        self, picture: StoredPicture | DeepSamples, metadata: Metadata, duration: Fraction | None = None
    ) -> Page:
        image = picture.loaded() if isinstance(picture, DeepSamples) else loaded(picture)
        colors = picture.color() if image.was_color else None
        depth = 16 if picture.is_deep else 8
        if colors is None or not shows_color(colors):
            return Page(image, metadata, duration, depth=depth)
        return Page(image, metadata, duration, colors, picture.stored_color, depth)


def open_scan(source: bytes | Path, *, name: str, max_pixels: int) -> Scan:
    """Opens a picture file, a path or its bytes: `with open_scan(...) as scan`.

    Pixels are read by the rules of `load_image`, and colors of more than 8 bits at their depth. Of a TIFF every page
    is read, and of an animation every frame; of other files with several pictures (MPO, HEIF) the main one.

    Args:
        source: path, or bytes of a file.
        name: what messages call it; by its suffix camera raw files are told.
        max_pixels: that a page may have.

    Raises:
        ImageLoadError: naming what cannot be read as a picture.
    """
    if PurePath(name).suffix.lower() in RAW_SUFFIXES:
        raise ImageLoadError(name, CAMERA_RAW)
    stream = io.BytesIO(source) if isinstance(source, bytes) else open_file(str(source), name)
    with contextlib.ExitStack() as on_error, strict_pillow(max_pixels), one_error(name, max_pixels):
        on_error.callback(stream.close)
        head = stream.read(16)
        refuse_camera_raw(head, name)
        if is_tiff(head):
            scan: Scan = _TiffScan(stream, name, max_pixels)
            on_error.pop_all()  # it reads pages from the file later on
            return scan
        content = source if isinstance(source, bytes) else head + stream.read()
        return (_JpegXLScan if is_jpeg_xl(head) else _PictureScan)(content, name, max_pixels)


class _PictureScan(Scan):
    """What Pillow opens, but TIFF."""

    def __init__(self, content: bytes, name: str, max_pixels: int):
        super().__init__(name, max_pixels)
        self.original, self.content = content, readable_png(content)
        image = open_image(io.BytesIO(self.content), name, max_pixels)
        self.format, self.size, self.largest = image.format or "", image.size, image.width * image.height
        self.profile = image.info.get("icc_profile", b"")
        if self.format == "JPEG2000":  # whose profile Pillow does not pass on
            self.profile = jpeg2000_header(io.BytesIO(content)).profile
        several = getattr(image, "n_frames", 1)
        if several > 1 and self.format in FRAMES:
            self.first = int(bool(getattr(image, "default_image", False)))
            self.layout, self.count = "frames", several - self.first
            self.loops = _loops(image)
            if self.first:
                self.notes = ("the picture that it shows where animations are not played is left out",)
        elif several > 1:
            self.notes = ("holds several pictures; only the main one is read",)

    def _pages(self) -> Iterator[Page]:
        image = open_image(io.BytesIO(self.content), self.name, self.max_pixels)
        metadata = read_metadata(image, io.BytesIO(self.original))
        if self.layout == "single":
            deep = read_deep(image, self.content, self.name, self.max_pixels)
            yield self._page(deep or decode_image(image, self.name, self.max_pixels), metadata)
            return
        for number in range(self.first, self.first + self.count):
            try:
                with one_error(self.name, self.max_pixels):
                    image.seek(number)
                if image.size != self.size:
                    size, first = ("{} x {} pixels".format(*size) for size in (image.size, self.size))
                    raise ImageLoadError(self.name, f"has {size}, the first has {first}")
                page = self._page(decode_image(image, self.name, self.max_pixels), metadata, _duration(image))
            except ImageLoadError as error:
                reason = f"frame {number - self.first + 1}: {error.reason}"
                raise ImageLoadError(self.name, reason) from error
            yield page


class _TiffScan(Scan):
    format = "TIFF"

    def __init__(self, stream: IO[bytes], name: str, max_pixels: int):
        super().__init__(name, max_pixels)
        self.stream = stream
        self.tiff = TiffPages(stream, name, max_pixels)
        self.count, self.largest, self.notes = len(self.tiff.directories), self.tiff.largest, self.tiff.notes
        self.layout = "pages" if self.count > 1 else "single"
        self.compression, self.profile = self.tiff.compression, self.tiff.profile

    def close(self) -> None:
        self.stream.close()

    def written_bytes(self, depth: str) -> int:
        return sum(
            page.width * page.height * _pixel_bytes(depth, deep=page.deep, opaque=page.opaque) + PAGE_ROOM
            for page in self.tiff.directories
        )

    def _pages(self) -> Iterator[Page]:
        for directory in self.tiff.directories:
            yield self._page(*self.tiff.read(directory))


class _JpegXLScan(Scan):
    format = "JPEGXL"

    def __init__(self, content: bytes, name: str, max_pixels: int):
        super().__init__(name, max_pixels)
        self.content = content
        self.header = read_header(content, name, max_pixels)
        self.largest, self.profile = self.header.width * self.header.height, self.header.profile
        if self.header.animated:
            self.notes = ("holds several frames; only the first is read",)

    def _pages(self) -> Iterator[Page]:
        metadata = read_boxes(self.content)
        yield self._page(read_samples(self.content, self.header, self.name, self.max_pixels), metadata)


def _pixel_bytes(depth: str, *, deep: bool, opaque: bool) -> int:
    return (3 if opaque else 4) * (2 if depth == "16" or (depth == "same" and deep) else 1)


def _loops(image: Image.Image) -> int:
    """How often the frames are played; GIF counts repetitions, and no count means none."""
    loops = image.info.get("loop")
    if image.format == "GIF":
        return 1 if loops is None else loops + 1 if loops else FOR_EVER
    return FOR_EVER if loops is None else loops


def _duration(image: Image.Image) -> Fraction:
    """Milliseconds that the decoded frame is shown."""
    duration = image.info.get("duration", 0)
    if image.format == "PNG":  # a fraction of 16-bit integers, of which Pillow gives the quotient
        return Fraction(duration / 1000).limit_denominator(65535) * 1000
    return Fraction(duration)
