"""What a JPEG 2000 file says and Pillow does not pass on: depth, color space, profile, all of its comments."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

CODESTREAM = b"\xff\x4f\xff\x51"  # start of codestream, then of its size marker (ISO 15444-1, Annex A)
COMMENT, FIRST_TILE = b"\xff\x64", b"\xff\x90"  # further markers, of which the second ends the header
LAB = 14  # an enumerated color space of ISO 15444-2


@dataclass(frozen=True)
class Jpeg2000Header:
    """What the file says before its samples, and whether it has all of them.

    depths: bits of each component.
    complete: whether the codestream's end is there; OpenJPEG does not miss the last bytes.
    profile: ICC bytes, b"" for none.
    space: enumerated color space, 0 for none.
    comments: in the codestream's header, each in an encoding of its own.
    """

    depths: tuple[int, ...]
    complete: bool
    profile: bytes = b""
    space: int = 0
    comments: tuple[bytes, ...] = ()


def jpeg2000_header(stream: IO[bytes]) -> Jpeg2000Header:
    """Reads boxes up to the codestream (ISO 15444-1, Annex I), and leaves the stream where it was.

    Raises:
        ValueError: if there is no codestream in it.
        struct.error: if it ends too early.
    """
    before = stream.tell()
    try:
        stream.seek(0)
        if stream.read(4) == CODESTREAM:
            depths, comments = _depths(stream), tuple(_comments(stream))
            return Jpeg2000Header(depths, _ends(stream, None), comments=comments)
        stream.seek(0)
        profile, space = b"", 0
        while True:
            kind, length = _next_box(stream)
            if kind == b"jp2c":
                if stream.read(4) != CODESTREAM:
                    raise ValueError("no codestream")
                end = stream.tell() - 4 + length if length > 0 else None
                depths, comments = _depths(stream), tuple(_comments(stream))
                return Jpeg2000Header(depths, _ends(stream, end), profile, space, comments)
            if kind == b"colr":
                content = stream.read(length)
                if content[:1] == b"\1" and not space:
                    (space,) = struct.unpack_from(">I", content, 3)
                elif content[:1] in (b"\2", b"\3") and not profile:
                    profile = content[3:]
            elif kind != b"jp2h":  # whose boxes are read as if they stood here
                stream.seek(length, 1)
    finally:
        stream.seek(before)


def _next_box(stream: IO[bytes]) -> tuple[bytes, int]:
    """Kind of the box that follows, and bytes of its content."""
    length, kind = struct.unpack(">I4s", stream.read(8))
    content = struct.unpack(">Q", stream.read(8))[0] - 16 if length == 1 else length - 8
    if content < 0 and kind != b"jp2c":  # whose length may be left open
        raise ValueError(f"a box of {length} bytes")
    return kind, content


def _depths(stream: IO[bytes]) -> tuple[int, ...]:
    """Of the size marker's content: SIZ, A.5.1."""
    fixed = stream.read(38)
    (count,) = struct.unpack_from(">H", fixed, 36)
    components = stream.read(3 * count)
    if len(components) < 3 * count:
        raise struct.error("ends too early")
    return tuple((depth & 0x7F) + 1 for depth in components[::3])


def _comments(stream: IO[bytes]) -> Iterator[bytes]:
    """Of the markers that follow that of the size: COM, A.9.2."""
    while len(head := stream.read(4)) == 4 and head[:2] != FIRST_TILE:
        content = stream.read(max(int.from_bytes(head[2:]) - 2, 0))
        if head[:2] == COMMENT:
            yield content[2:]


def _ends(stream: IO[bytes], end: int | None) -> bool:
    """Whether the codestream up to `end`, or to the end of the file, is closed by its marker, or padding after it."""
    length = stream.seek(0, 2)
    end = length if end is None else end
    stream.seek(max(end - 64, 0))
    return end <= length and b"\xff\xd9" in stream.read(64)
