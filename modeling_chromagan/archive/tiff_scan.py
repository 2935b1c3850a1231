"""TIFF files: their pages, each read by its own directory, by Pillow or at its depth by tifffile."""

import contextlib
import re
from dataclasses import replace
from typing import IO, Any, Literal, cast

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..errors import ImageLoadError
from ..image_decoding import TURNS, StoredPicture
from ..image_loading import decode_image, loaded, open_image
from ..pixel_blocks import check_size
from .deep_samples import DeepSamples
from .metadata import Metadata
from .metadata_reading import read_metadata
from .tiff_pages import Directory, find_directories, find_pages, looks_same, tags_at
from .tiff_samples import further_channels, is_beyond_pillow, read_page

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate"}
COMPRESSION, ORIENTATION, PROFILE, PHOTOSHOP_DATA = 259, 274, 34675, 37724
LAYERS = re.compile(rb"(8BIM(Layr|Lr16|Lr32)|MIB8(ryaL|61rL|23rL))(?!\0{4})")  # and a length that is not 0
COPY_SIDE = 32  # of the copies by which reductions are recognized
PILLOW_OFFSETS = 1 << 32  # beyond which Pillow cannot point libtiff to a directory


def is_tiff(head: bytes) -> bool:
    return head.startswith(MARKS)


class TiffPages:
    """The pages of an open TIFF file."""

    def __init__(self, stream: IO[bytes], name: str, max_pixels: int):
        """Finds them, in `strict_pillow`; nothing is decoded but a few pictures that might be reductions of others.

        Raises:
            ImageLoadError: naming the page that is not there, or a camera raw file.
        """
        self.stream, self.name, self.max_pixels = stream, name, max_pixels
        self.copies: dict[int, np.ndarray] = {}
        directories, self.notes = find_directories(stream, name)
        stream.seek(0)
        self.header = stream.read(16)
        self.directories = find_pages(directories, self._same)
        self.copies.clear()
        if len(self.directories) < len(directories):
            self.notes += ("holds smaller copies or masks besides its pages, which are left out",)
        if not self.directories:
            raise ImageLoadError(name, "damaged or truncated file (no picture is in it)")
        first = self._tags(self.directories[0])
        profile = first.get(PROFILE)
        self.profile = profile if isinstance(profile, bytes) else b""
        self.compression = COMPRESSIONS.get(first.get(COMPRESSION, 1))
        self.largest = max(page.width * page.height for page in self.directories)

    def read(self, directory: Directory) -> tuple[StoredPicture | DeepSamples, Metadata]:
        """A page, decoded, and what it says.

        Raises:
            ImageLoadError: naming the page, where there are several.
        """
        try:
            return self._read(directory)
        except ImageLoadError as error:
            if len(self.directories) < 2:
                raise
            raise ImageLoadError(self.name, f"page {directory.page}: {error.reason}") from error

    def _read(self, directory: Directory) -> tuple[StoredPicture | DeepSamples, Metadata]:
        check_size(directory.width, directory.height, self.name, self.max_pixels)
        tags = self._tags(directory)
        stream = cast(IO[bytes], _FirstDirectory(self.stream, self.header, directory.offset))
        image = None
        with contextlib.suppress(ImageLoadError):  # what tifffile says of it, is said
            image = open_image(stream, self.name, self.max_pixels)
        metadata = read_metadata(cast(Image.Image, image or _Unopened(self.stream, directory.offset)))
        layers = tags.get(PHOTOSHOP_DATA)
        if isinstance(layers, bytes) and LAYERS.search(layers[:4096]):
            metadata = replace(metadata, notes=(*metadata.notes, "its Photoshop layers are left out"))
        if further_channels(tags):
            note = "its channels besides colors and opacity (infrared, spot colors) are left out"
            metadata = replace(metadata, notes=(*metadata.notes, note))
        within_reach = directory.offset < PILLOW_OFFSETS or tags.get(COMPRESSION, 1) == 1
        if image is not None and within_reach and not is_beyond_pillow(tags):
            return decode_image(image, self.name, self.max_pixels), metadata
        try:
            turn = self._orientation(tags)
            return read_page(self.stream, directory.offset, self.name, self.max_pixels, turn), metadata
        except ImageLoadError:
            if image is None:
                raise
            return decode_image(image, self.name, self.max_pixels), metadata

    def _tags(self, directory: Directory) -> ImageFileDirectory_v2:
        return tags_at(self.stream, self.header, directory.offset)

    @staticmethod
    def _orientation(tags: ImageFileDirectory_v2) -> int:
        value = tags.get(ORIENTATION, 1)
        return value if value in range(1, 9) else 1

    def _same(self, small: Directory, large: Directory) -> bool:
        """Whether two directories show the same; not, if one of them cannot be read, which is said later."""
        try:
            return looks_same(self._copy(small), self._copy(large))
        except ImageLoadError:
            return False

    def _copy(self, directory: Directory) -> np.ndarray:
        """The picture as stored, in gray, (COPY_SIDE, COPY_SIDE)."""
        if directory.offset not in self.copies:
            picture, _ = self._read(directory)
            gray = (picture.loaded() if isinstance(picture, DeepSamples) else loaded(picture)).gray
            white = 1 if gray.dtype.kind == "f" else np.iinfo(gray.dtype).max
            small = Image.fromarray(gray.astype(np.float32)).resize((COPY_SIDE, COPY_SIDE), Image.Resampling.BOX)
            orientation = self._orientation(self._tags(directory))
            if orientation != 1:  # which a thumbnail often has not
                small = small.transpose(TURNS[{6: 8, 8: 6}.get(orientation, orientation)])
            self.copies[directory.offset] = np.asarray(small) / white
        return self.copies[directory.offset]


class _FirstDirectory:
    """A TIFF file whose first directory is another one: what Pillow opens is that page."""

    def __init__(self, stream: IO[bytes], header: bytes, offset: int):
        self.stream = stream
        order: Literal["little", "big"] = "little" if header[:2] == b"II" else "big"
        is_big = header[2:4] in (b"+\0", b"\0+")
        self.header = header[:8] + offset.to_bytes(8, order) if is_big else header[:4] + offset.to_bytes(4, order)
        stream.seek(0)

    def read(self, size: int = -1) -> bytes:
        start = self.stream.tell()
        data = self.stream.read(size)
        if start < len(self.header):
            data = self.header[start : start + len(data)] + data[len(self.header) - start :]
        return data

    def __getattr__(self, name: str) -> Any:  # seek, tell, and fileno or getvalue
        return getattr(self.stream, name)


class _Unopened:
    """What `read_metadata` reads of an image: for a page that Pillow cannot open."""

    def __init__(self, stream: IO[bytes], offset: int):
        self.format, self.fp = "TIFF", stream
        self.tag_v2 = type("Tags", (), {"_offset": offset})()
