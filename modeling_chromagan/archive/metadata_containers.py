"""The parts of files that hold metadata: PNG chunks, boxes (JPEG 2000, JPEG XL), GIF blocks, Photoshop's resources.

Pillow stops looking where the pixels begin, keeps one text of each keyword and skips most boxes of JPEG 2000.
PNG (W3C, third edition), ISO 15444-1 and -2, ISO 18181-2, GIF89a, Adobe's Photoshop file format.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import IO

from PIL import PngImagePlugin

LARGEST = 16 << 20  # bytes of one part
ALL_TOGETHER = 64 << 20  # bytes of the parts of a file
IPTC_RESOURCE = 0x0404
IN_BOXES = (b"uuid", b"xml ", b"Exif", b"brob", b"res ", b"jumb", b"jp2h")
IN_CHUNKS = (b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"caBX")


def chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of a PNG's chunks that say something besides pixels, those behind the pixels too.

    Damaged ones (by their check sum) and those beyond our limits come with the content b"".
    """
    file.seek(8)
    left = ALL_TOGETHER
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"IEND":
            return
        if name not in IN_CHUNKS:
            file.seek(length + 4, 1)
            continue
        if length > min(left, LARGEST):
            file.seek(length + 4, 1)
            yield name, b""
            continue
        left -= length
        content, check = file.read(length), file.read(4)
        whole = len(content) == length and check == struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
        yield name, content if whole else b""


def readable_png(content: bytes) -> bytes:
    """A PNG as Pillow opens it: without metadata that is damaged, or too much for it; any other file as it is.

    Pillow takes a wrong check sum, or a compressed text of more than a megabyte, for damage of the picture.
    """
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    kept, start, position, left = [], 0, 8, PngImagePlugin.MAX_TEXT_MEMORY // 2
    while position + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, position)
        stop = position + 12 + length
        if name in IN_CHUNKS:
            data, check = content[position + 8 : stop - 4], content[stop - 4 : stop]
            size, whole = _text_size(name, data), check == struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
            left -= size
            if not whole or size > PngImagePlugin.MAX_TEXT_CHUNK or left < 0:
                kept.append(content[start:position])
                start = stop
        position = stop
    return b"".join([*kept, content[start:]]) if kept else content


def _text_size(name: bytes, data: bytes) -> int:
    """Bytes of a text chunk's text, or one more than Pillow takes."""
    _, _, rest = data.partition(b"\0")
    if name == b"zTXt":
        data = rest[1:]
    elif name == b"iTXt" and rest[:1] == b"\1":
        data = rest.split(b"\0", 3)[-1]
    else:
        return 0 if name == b"eXIf" else min(len(data), PngImagePlugin.MAX_TEXT_CHUNK)
    try:
        return len(zlib.decompressobj().decompress(data, PngImagePlugin.MAX_TEXT_CHUNK + 1))
    except zlib.error:
        return 0


def inflate(data: bytes) -> bytes:
    """zlib's data, at most `LARGEST` bytes of it.

    Raises:
        ValueError: if it is damaged or would be more.
    """
    decompressor = zlib.decompressobj()
    try:
        inflated = decompressor.decompress(data, LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not decompressor.eof:
        raise ValueError("it is too large or ends too early")
    return inflated


def boxes(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the boxes that say something besides pixels; those of "jp2h" as if they stood outside."""
    file.seek(0, 2)
    end = file.tell()
    position, left = 0, ALL_TOGETHER
    while position + 8 <= end:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        start = position + 8
        if length == 1:
            length, start = struct.unpack(">Q", file.read(8))[0], start + 8
        stop = end if length == 0 else min(position + length, end)
        if stop < start:
            return
        if name == b"jp2h":
            position = start
            continue
        position = stop
        if name in IN_BOXES:
            if stop - start > min(left, LARGEST):
                yield name, b""
                continue
            left -= stop - start
            yield name, file.read(stop - start)


def gif_extensions(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Of a GIF: b"comment" with its text, and an application's name (11 bytes) with the blocks it left, in order.

    Of XMP, which is not cut into blocks, the bytes up to the end of its trailer.
    """
    file.seek(0)
    flags = file.read(13)[10]
    file.seek(3 * (2 << (flags & 7)) if flags & 0x80 else 0, 1)
    left = ALL_TOGETHER
    while left > 0 and (kind := file.read(1)) in (b"!", b","):
        if kind == b",":
            flags = file.read(9)[8]
            file.seek((3 * (2 << (flags & 7)) if flags & 0x80 else 0) + 1, 1)
            _skip_blocks(file)
            continue
        label = file.read(1)
        name = b"comment" if label == b"\xfe" else b""
        if label == b"\xff":
            name = file.read(file.read(1)[0])
        if name == b"XMP DataXMP":
            content = _until_trailer(file)
        elif name == b"comment":
            content = b"".join(_blocks(file))
        else:
            _skip_blocks(file)
            continue
        left -= len(content)
        yield name, content


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while (size := file.read(1)) not in (b"", b"\0"):
        yield file.read(size[0])


def _skip_blocks(file: IO[bytes]) -> None:
    while (size := file.read(1)) not in (b"", b"\0"):
        file.seek(size[0], 1)


def _until_trailer(file: IO[bytes]) -> bytes:
    """XMP in a GIF: its letters, taken for the sizes of blocks, lead into a trailer of 1, 255 ... 0 (XMP part 3)."""
    start = file.tell()
    _skip_blocks(file)
    length = file.tell() - start
    if length > LARGEST:
        return b""
    file.seek(start)
    return file.read(length)[:-258]


def photoshop_resource(data: bytes, number: int) -> bytes:
    """What Photoshop's image resources say under a number; empty where there is none.

    Raises:
        ValueError: if it is cut off.
    """
    found, position = b"", 0
    while data[position : position + 4] == b"8BIM" and position + 12 <= len(data):
        kind, name_length = struct.unpack_from(">HB", data, position + 4)
        position += 6 + name_length + 1 + (name_length + 1) % 2
        if position + 4 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, position)
        if kind == number:
            if position + 4 + length > len(data):
                raise ValueError("it ends too early")
            found += data[position + 4 : position + 4 + length]
        position += 4 + length + length % 2
    return found


def wrapped_resource(number: int, data: bytes) -> bytes:
    """One image resource of Photoshop's."""
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)


__all__ = ["boxes", "chunks", "gif_extensions", "inflate", "photoshop_resource", "readable_png", "wrapped_resource"]
