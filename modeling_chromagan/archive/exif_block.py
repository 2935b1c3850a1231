"""EXIF: a TIFF block of tags, taken apart and put together with every value as its bytes.

Pillow would decode and encode each value and lose what it does not know (EXIF 3.0 UTF-8, text that is not ASCII,
second strings); here a value that is not changed stays as it was. TIFF 6.0, BigTIFF, CIPA DC-008 (EXIF 3.0).
"""

import io
import struct
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import IO

# Bytes of one value of each TIFF type; 129 is the UTF-8 of EXIF 3.0, 16 to 18 are those of BigTIFF.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1, 16: 8, 17: 8, 18: 8}
LETTERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
ASCII, SHORT, LONG, RATIONAL, UNDEFINED, UTF_8 = 2, 3, 4, 5, 7, 129

X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
EXIF_FOLDER, GPS_FOLDER, MAKER_NOTE, USER_COMMENT = 0x8769, 0x8825, 0x927C, 0x9286
LARGEST = 64 << 20  # bytes of all values of a folder: no file makes us read more
FARTHEST = 1 << 62  # a place behind the end of any file that may be sought

# Makers whose notes count offsets from the note's own start, so that it may be moved.
MOVABLE_NOTES = (b"Nikon\0\2", b"FUJIFILM", b"OLYMPUS\0II", b"OM SYSTEM\0", b"Apple iOS\0", b"PENTAX \0")


@dataclass(frozen=True)
class Tag:
    """A value as its bytes, in the byte order of its block."""

    kind: int
    count: int
    value: bytes


Folder = dict[int, Tag]


@dataclass
class ExifBlock:
    """The folders of a block; `order` is struct's "<" or ">".

    note_offset: where the MakerNote stood; most count offsets from the start of the block, so that it is put there
        again. None where it may stand anywhere.
    damaged: whether something could not be read.
    """

    order: str = "<"
    image: Folder = field(default_factory=dict)
    exif: Folder = field(default_factory=dict)
    gps: Folder = field(default_factory=dict)
    note_offset: int | None = None
    damaged: bool = False

    def __bool__(self) -> bool:
        return bool(self.image or self.exif or self.gps)

    def numbers(self, tag: Tag | None) -> list[Fraction]:
        """The value as exact numbers; empty where it has none (no such tag, text, a zero below the line)."""
        if tag is None:
            return []
        try:
            if tag.kind in (RATIONAL, 10):
                letter = "I" if tag.kind == RATIONAL else "i"
                parts = struct.unpack(f"{self.order}{2 * tag.count}{letter}", tag.value)
                return [Fraction(above, below) for above, below in zip(parts[::2], parts[1::2], strict=True)]
            return [Fraction(n) for n in struct.unpack(f"{self.order}{tag.count}{LETTERS[tag.kind]}", tag.value)]
        except (KeyError, ValueError, ArithmeticError, struct.error):
            return []

    def short(self, number: int) -> Tag:
        return Tag(SHORT, 1, struct.pack(f"{self.order}H", number))

    def long(self, number: int) -> Tag:
        return Tag(LONG, 1, struct.pack(f"{self.order}I", number))

    def rational(self, number: Fraction) -> Tag:
        """The nearest that two 32-bit numbers can say."""
        if number.numerator > 0xFFFFFFFF or number.denominator > 0xFFFFFFFF:
            number = number.limit_denominator(max(1, min(1_000_000, 0xFFFFFFFF // (int(number) + 1))))
        return Tag(RATIONAL, 1, struct.pack(f"{self.order}2I", min(number.numerator, 0xFFFFFFFF), number.denominator))

    def in_order(self, order: str) -> "ExifBlock":
        """The same tags in a byte order, "<" or ">"; what counts offsets in itself stays as it is."""
        if order == self.order:
            return self
        image, exif, gps = (
            {number: self._swapped(number, tag) for number, tag in folder.items()}
            for folder in (self.image, self.exif, self.gps)
        )
        return ExifBlock(order, image, exif, gps, self.note_offset, self.damaged)

    def _swapped(self, number: int, tag: Tag) -> Tag:
        size = 4 if tag.kind in (RATIONAL, 10) else SIZES[tag.kind]
        start = 0
        if number == USER_COMMENT and tag.value.startswith(b"UNICODE\0"):  # UTF-16 in the order of the block
            size, start = 2, 8
        end = len(tag.value) - (len(tag.value) - start) % size
        units = [tag.value[place : place + size][::-1] for place in range(start, end, size)]
        return Tag(tag.kind, tag.count, tag.value[:start] + b"".join(units) + tag.value[end:])

    def pack(self) -> bytes:
        """The block, from its byte order mark on; empty where no tag is left."""
        return _Layout(self).pack() if self else b""


def text_tag(text: str) -> Tag:
    """Text as everybody writes what is not ASCII: its UTF-8, as type ASCII."""
    value = text.replace("\0", " ").encode() + b"\0"
    return Tag(ASCII, len(value), value)


def tag_text(tag: Tag | None) -> str:
    """The text of a tag, UTF-8 or else Latin-1, without what fills it up."""
    value = tag.value.rstrip(b"\0 ") if tag else b""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def parse_exif(data: bytes) -> ExifBlock:
    """The folders of an EXIF block; its thumbnail (the second folder) is not among them.

    Raises:
        ValueError: if it is no such block.
    """
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8 or struct.unpack(f"{order}H", data[2:4])[0] not in (42, 43):
        raise ValueError("not a TIFF block")
    return read_block(io.BytesIO(data), None, ())


def read_block(file: IO[bytes], offset: int | None, skipped: Container[int]) -> ExifBlock:
    """The tags of a TIFF file's folder at `offset` (None: of the first) but the `skipped`, and of its Exif and GPS.

    Raises:
        ValueError: if it has no readable folder there.
    """
    file.seek(0)
    head = file.read(16)
    try:
        order = {b"II": "<", b"MM": ">"}[head[:2]]
        big = struct.unpack(f"{order}H", head[2:4])[0] == 43
        if offset is None:
            offset = struct.unpack(f"{order}{'Q' if big else 'I'}", head[8:16] if big else head[4:8])[0]
        block = ExifBlock(order)
        block.image = _read_folder(file, offset, big, block, skipped)
    except (KeyError, struct.error) as error:
        raise ValueError("no readable folder of tags") from error
    for pointer, name in ((EXIF_FOLDER, "exif"), (GPS_FOLDER, "gps")):
        numbers = block.numbers(block.image.pop(pointer, None))
        if not numbers:
            continue
        try:
            if numbers[0] == offset:
                raise struct.error("a folder in itself")
            setattr(block, name, _read_folder(file, int(numbers[0]), big, block, (EXIF_FOLDER, GPS_FOLDER)))
        except struct.error:
            block.damaged = True
    return block


def _read_folder(file: IO[bytes], offset: int, big: bool, block: ExifBlock, skipped: Container[int]) -> Folder:
    order, (width, count_letter, entry) = block.order, ((8, "Q", 20) if big else (4, "I", 12))
    file.seek(min(offset, FARTHEST))
    count = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))[0]
    entries = file.read(entry * min(count, 0xFFFF))
    if count and len(entries) < entry:
        raise struct.error("no entry")
    block.damaged |= len(entries) < entry * count
    folder: Folder = {}
    left = LARGEST
    for start in range(0, len(entries) - entry + 1, entry):
        number, kind, length = struct.unpack_from(f"{order}HH{count_letter}", entries, start)
        size = SIZES.get(kind, 0) * length
        if number in skipped or number in folder or not length:
            continue
        if not size or size > left:
            block.damaged = True
            continue
        left -= size
        value = entries[start + entry - width :][: min(size, width)]
        if size > width:
            position = min(struct.unpack(f"{order}{count_letter}", value)[0], FARTHEST)
            file.seek(position)
            value = file.read(size) if position >= 8 else b""
            if number == MAKER_NOTE and not value.startswith(MOVABLE_NOTES):
                block.note_offset = position
        if len(value) < size:
            block.damaged = True
            continue
        if kind in (16, 17, 18):  # of BigTIFF: as 32 bits, all that an EXIF block has
            numbers = struct.unpack(f"{order}{length}{LETTERS[kind]}", value)
            letter = "i" if kind == 17 else "I"
            try:
                kind, value = {16: LONG, 17: 9, 18: 13}[kind], struct.pack(f"{order}{length}{letter}", *numbers)
            except struct.error:
                block.damaged = True
                continue
        folder[number] = Tag(kind, length, value)
    return folder


class _Layout:
    """Places for folders and values: before the MakerNote's old place where they fit, else behind it."""

    def __init__(self, block: ExifBlock):
        self.block, self.parts = block, [(0, b"")]
        note = block.exif.get(MAKER_NOTE)
        self.front, self.note_start = 8, block.note_offset if note and block.note_offset is not None else None
        self.behind = (self.note_start or 0) + len(note.value) if note and self.note_start is not None else 8

    def pack(self) -> bytes:
        block = self.block
        image = dict(block.image)
        for pointer, folder in ((EXIF_FOLDER, block.exif), (GPS_FOLDER, block.gps)):
            if folder:
                image[pointer] = block.long(self._folder(folder))
        mark = b"II*\0" if block.order == "<" else b"MM\0*"
        self.parts[0] = (0, mark + struct.pack(f"{block.order}I", self._folder(image)))
        return join_parts(self.parts)

    def _folder(self, folder: Folder) -> int:
        start = self._place(6 + 12 * len(folder))
        entries = [struct.pack(f"{self.block.order}H", len(folder))]
        for number, tag in sorted(folder.items()):
            value = tag.value.ljust(4, b"\0")
            if len(value) > 4:
                fixed = self.note_start if number == MAKER_NOTE and folder is self.block.exif else None
                position = self._place(len(value)) if fixed is None else fixed
                self.parts.append((position, value))
                value = struct.pack(f"{self.block.order}I", position)
            entries.append(struct.pack(f"{self.block.order}HHI", number, tag.kind, tag.count) + value)
        self.parts.append((start, b"".join([*entries, bytes(4)])))
        return start

    def _place(self, size: int) -> int:
        if self.note_start is not None and self.front + size <= self.note_start:
            place = self.front
            self.front += size + size % 2
        else:
            place = self.behind + self.behind % 2
            self.behind = place + size
        return place


def join_parts(parts: Iterable[tuple[int, bytes]]) -> bytes:
    """Bytes at their offsets, zeros between them."""
    joined = bytearray()
    for offset, data in sorted(parts):
        joined += bytes(offset - len(joined)) + data
    return bytes(joined)


__all__ = ["ExifBlock", "Folder", "Tag", "parse_exif", "read_block", "tag_text", "text_tag"]
