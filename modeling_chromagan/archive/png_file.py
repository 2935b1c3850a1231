"""PNG and APNG with 8 or 16 bits a channel: pixels by imagecodecs, everything else as chunks.

PNG specification, third edition (W3C, 2025), which APNG and eXIf are a part of.
"""

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import imagecodecs

from .file_settings import FileSettings, Notes
from .metadata import Metadata, Resolution, TextEntry
from .pages import ColoredPage
from .resolution import in_unit

SAYABLE = ("resolution", "exif", "xmp", "text")
SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Files are smaller than at Pillow's level 4 and made in less time, whatever the depth.
LEVEL = 3


def write_png(pages: Iterator[ColoredPage], file: BinaryIO, settings: FileSettings) -> Notes:
    """Writes one picture as PNG, or frames as APNG; lossless.

    Raises:
        ValueError: if frames differ in size, depth or channels.
    """
    notes = Notes()
    first = next(pages)
    notes.add_unsaid(first.metadata, "PNG", SAYABLE)
    header, data = _encode(first)
    file.write(SIGNATURE)
    _write_chunk(file, b"IHDR", header)
    if settings.layout != "frames":
        _write_described(file, first.metadata, settings.profile)
        for part in data:
            _write_chunk(file, b"IDAT", part)
        _write_chunk(file, b"IEND", b"")
        return notes

    animation_control = file.tell()  # the number of frames is not known yet
    _write_chunk(file, b"acTL", bytes(8))
    _write_described(file, first.metadata, settings.profile)
    count, sequence = 0, 0
    page: ColoredPage | None = first
    while page is not None:
        if count:
            own_header, data = _encode(page)
            if own_header != header:
                raise ValueError("a frame has another size, depth or number of channels than the first")
        delay, divisor = _delay(page.duration or Fraction(0), notes)
        control = struct.pack(">I8sIIHHBB", sequence, header[:8], 0, 0, delay, divisor, 0, 0)
        _write_chunk(file, b"fcTL", control)
        sequence += 1
        for part in data:
            if count:
                _write_chunk(file, b"fdAT", struct.pack(">I", sequence) + part)
                sequence += 1
            else:
                _write_chunk(file, b"IDAT", part)
        count += 1
        page = next(pages, None)
    _write_chunk(file, b"IEND", b"")
    end = file.tell()
    file.seek(animation_control)
    _write_chunk(file, b"acTL", struct.pack(">II", count, settings.loops))
    file.seek(end)
    return notes


def _encode(page: ColoredPage) -> tuple[bytes, list[memoryview]]:
    """The header, and the compressed pixels in the parts in which the encoder gave them."""
    encoded = memoryview(imagecodecs.png_encode(page.pixels, level=LEVEL))
    header, data, position = b"", [], len(SIGNATURE)
    while position < len(encoded):
        length, name = struct.unpack_from(">I4s", encoded, position)
        content = encoded[position + 8 : position + 8 + length]
        if name == b"IHDR":
            header = bytes(content)
        elif name == b"IDAT":
            data.append(content)
        position += 12 + length
    return header, data


def _write_chunk(file: BinaryIO, name: bytes, content: bytes | memoryview) -> None:
    file.write(struct.pack(">I", len(content)) + name)
    file.write(content)
    file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))


def _write_described(file: BinaryIO, metadata: Metadata, profile: bytes) -> None:
    """All chunks that stand between header and pixels."""
    if profile:
        _write_chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    else:
        _write_chunk(file, b"sRGB", b"\0")  # rendering intent: perceptual
    if metadata.resolution:
        _write_chunk(file, b"pHYs", _physical(metadata.resolution))
    if metadata.exif:
        _write_chunk(file, b"eXIf", metadata.exif)
    if metadata.xmp:
        _write_chunk(file, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)
    for entry in metadata.text:
        _write_chunk(file, *_text_chunk(entry))


def _physical(resolution: Resolution) -> bytes:
    """Pixels per meter, in whole numbers; where there is no unit, the two in proportion."""
    if resolution.unit == "none":
        ratio = (resolution.x / resolution.y).limit_denominator(2**31 - 1)
        return struct.pack(">IIB", ratio.numerator, ratio.denominator, 0)
    return struct.pack(">IIB", *map(round, in_unit(resolution, "meter")), 1)


def _text_chunk(entry: TextEntry) -> tuple[bytes, bytes]:
    keyword = entry.keyword.encode("latin-1")
    if not entry.international:
        return b"tEXt", keyword + b"\0" + entry.text.encode("latin-1")
    parts = (entry.language.encode("ascii"), entry.translated_keyword.encode("utf-8"), entry.text.encode("utf-8"))
    return b"iTXt", keyword + b"\0\0\0" + b"\0".join(parts)


def _delay(duration: Fraction, notes: Notes) -> tuple[int, int]:
    """Milliseconds -> seconds as a fraction of two 16-bit numbers."""
    seconds = duration / 1000
    nearest = seconds.limit_denominator(65_535)
    while nearest.numerator > 65_535 and nearest.denominator > 1:
        nearest = seconds.limit_denominator(nearest.denominator // 2)
    if nearest != seconds:
        notes.add("APNG times frames in fractions of seconds with 16-bit numbers: some are rounded")
    return min(nearest.numerator, 65_535), nearest.denominator
