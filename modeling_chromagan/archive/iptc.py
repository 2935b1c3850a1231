"""IPTC-IIM records, and their places in XMP.

IPTC-IIM 4.2; the IPTC Photo Metadata Standard 2025.1 for the XMP properties of the same meaning.
"""

import struct
from collections.abc import Iterator

from .xmp import Packet

PREVIEW = (200, 201, 202)  # of record 2: a small picture of the gray scan
CHARACTER_SET, UTF_8 = (1, 90), b"\x1b%G"
APPLICATION_RECORD = 2
VERSION = 0
# Data sets of record 2 -> property, and kind of array ("" for none).
PLACES = {
    4: ("Iptc4xmpCore:IntellectualGenre", ""),
    5: ("dc:title", "Alt"),
    10: ("photoshop:Urgency", ""),
    12: ("Iptc4xmpCore:SubjectCode", "Bag"),
    15: ("photoshop:Category", ""),
    20: ("photoshop:SupplementalCategories", "Bag"),
    25: ("dc:subject", "Bag"),
    40: ("photoshop:Instructions", ""),
    55: ("photoshop:DateCreated", ""),
    62: ("xmp:CreateDate", ""),
    80: ("dc:creator", "Seq"),
    85: ("photoshop:AuthorsPosition", ""),
    90: ("photoshop:City", ""),
    92: ("Iptc4xmpCore:Location", ""),
    95: ("photoshop:State", ""),
    100: ("Iptc4xmpCore:CountryCode", ""),
    101: ("photoshop:Country", ""),
    103: ("photoshop:TransmissionReference", ""),
    105: ("photoshop:Headline", ""),
    110: ("photoshop:Credit", ""),
    115: ("photoshop:Source", ""),
    116: ("dc:rights", "Alt"),
    120: ("dc:description", "Alt"),
    122: ("photoshop:CaptionWriter", ""),
}
TIMES = {55: 60, 62: 63}  # the time that belongs to a date


def iptc_records(data: bytes) -> bytes:
    """The IPTC-IIM data sets without previews, and without what fills them up.

    Raises:
        ValueError: if there are none, or the data is cut off.
    """
    sets = list(data_sets(data))
    if not sets:
        raise ValueError("it is no IPTC")
    return b"".join(
        whole for record, number, _, whole in sets if record != APPLICATION_RECORD or number not in PREVIEW
    )


def data_sets(data: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Record, number, content and all bytes of each data set.

    Raises:
        ValueError: if the data is cut off.
    """
    position = 0
    while position + 5 <= len(data) and data[position] == 0x1C:
        record, number, length = struct.unpack_from(">BBH", data, position + 1)
        start = position + 5
        if length & 0x8000:  # the length of the length follows
            size = length & 0x7FFF
            length, start = int.from_bytes(data[start : start + min(size, 8)], "big"), start + size
        if start + length > len(data):
            raise ValueError("it ends too early")
        yield record, number, data[start : start + length], data[position : start + length]
        position = start + length


def add_to_packet(data: bytes, packet: Packet) -> int:
    """Puts IPTC's fields into an XMP packet where it does not have them; returns how many it has no place for.

    A packet that has a field in other words keeps its own: programs that know both write XMP last.
    """
    fields: dict[int, list[bytes]] = {}
    utf_8 = homeless = 0
    for record, number, content, _ in data_sets(data):
        utf_8 |= (record, number) == CHARACTER_SET and content == UTF_8
        if record == APPLICATION_RECORD:
            fields.setdefault(number, []).append(content)
    times = {date: [_text(content, bool(utf_8)) for content in fields.pop(time, ())] for date, time in TIMES.items()}
    for number, contents in fields.items():
        name, kind = PLACES.get(number, ("", ""))
        texts = [_text(content, bool(utf_8)) for content in contents]
        if number in TIMES:
            texts = [date_and_time(date, (*times[number], "")[0]) for date in texts]
        elif number == 4:
            texts = [text.partition(":")[2] or text for text in texts]  # "001:Current"
        elif number == 12:
            texts = [text.split(":")[1] if ":" in text else text for text in texts]  # "IPTC:01000000:::"
        if not name:
            homeless += (number != VERSION) * len(texts)
            continue
        present = packet.values(name)
        if not present and any(texts):
            packet.put(name, texts if kind else ["; ".join(texts)], kind)
        else:
            homeless += sum(text not in present for text in texts if text)
    return homeless


def _text(content: bytes, utf_8: bool) -> str:
    """UTF-8 where the records or the bytes say so; Latin-1 else, as nothing says which."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("utf-8", "replace") if utf_8 else content.decode("latin-1")


def date_and_time(date: str, time: str) -> str:
    """19050704 and 120000+0100 -> 1905-07-04T12:00:00+01:00; unknown parts, 00, are left out."""
    if len(date) != 8 or not date.isdigit():
        return date
    parts = [date[:4], *(part for part in (date[4:6], date[6:]) if part != "00")]
    written = "-".join(parts)
    if len(parts) == 3 and len(time) >= 6 and time[:6].isdigit():
        written += f"T{time[:2]}:{time[2:4]}:{time[4:6]}"
        if len(time) == 11 and time[6] in "+-":
            written += f"{time[6:9]}:{time[9:]}"
    return written


__all__ = ["add_to_packet", "iptc_records"]
