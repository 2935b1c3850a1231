"""Metadata in the way of the format that is written, and what that format has no way for."""

import re
from email.utils import parsedate_to_datetime

from .exif_block import (
    ASCII,
    MAKER_NOTE,
    MOVABLE_NOTES,
    RESOLUTION_UNIT,
    UNDEFINED,
    USER_COMMENT,
    UTF_8,
    X_RESOLUTION,
    Y_RESOLUTION,
    ExifBlock,
    Tag,
    parse_exif,
    tag_text,
    text_tag,
)
from .iptc import add_to_packet
from .metadata import Metadata, Resolution, TextEntry
from .metadata_containers import IPTC_RESOURCE, wrapped_resource
from .resolution import in_unit, in_whole_numbers, per_meter
from .xmp import Packet, structure

NAMES = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "tiff": "TIFF", "avif": "AVIF", "jp2": "JPEG 2000"}
HOLDS_IPTC = ("jpeg", "tiff", "jp2")
EXIF_LIMIT = 65_527  # bytes of EXIF in a JPEG's segment, after what announces it

ORIENTATION, WIDTH, HEIGHT, VERSION = 274, 0xA002, 0xA003, 0x9000
# PNG's keywords -> EXIF tag of IFD 0 (0: none) and XMP property, with its kind of array.
PLACES: dict[str, tuple[int, str, str]] = {
    "title": (0, "dc:title", "Alt"),
    "author": (315, "dc:creator", "Seq"),
    "artist": (315, "dc:creator", "Seq"),
    "description": (270, "dc:description", "Alt"),
    "copyright": (33432, "dc:rights", "Alt"),
    "creation time": (0, "xmp:CreateDate", ""),
    "software": (305, "xmp:CreatorTool", ""),
}
OTHER_TEXT = "chromagan:Text"
XMP_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII)


def for_format(metadata: Metadata, output_format: str, size: tuple[int, int]) -> tuple[Metadata, tuple[str, ...]]:
    """Metadata as a format says it, to be written field by field as it is, and a phrase for everything that is lost.

    What a format has no field for goes where its readers look instead: IPTC and PNG text into XMP and EXIF, comments
    into EXIF or PNG text, resolutions into EXIF where the container has none or only rounded ones. Order, sizes and
    places within EXIF become right for the target.

    Args:
        metadata: as `read_metadata` gives it, or extended.
        output_format: "png", "jpeg", "webp", "tiff", "avif" or "jp2".
        size: width and height of what is written, in pixels.
    """
    return _Target(metadata, output_format, size).result()


class _Target:
    def __init__(self, metadata: Metadata, output_format: str, size: tuple[int, int]):
        self.metadata, self.format, self.size = metadata, output_format, size
        self.name = NAMES[output_format]
        self.lost: list[str] = []
        self.block, self.packet = ExifBlock(), Packet()
        if metadata.exif:
            try:
                self.block = parse_exif(metadata.exif)
            except ValueError:
                self.lost.append("EXIF: it is damaged")
        if metadata.xmp:
            try:
                self.packet = Packet(metadata.xmp)
            except ValueError:
                self.lost.append("XMP: it is damaged")

    def result(self) -> tuple[Metadata, tuple[str, ...]]:
        text, comments, iptc = self._texts()
        resolution = self._resolution()
        if self.block.exif:  # also one that is made here, or of a TIFF's own dates
            self.block.exif.setdefault(VERSION, Tag(UNDEFINED, 4, b"0232"))
        if self.format == "avif":  # which has the orientation elsewhere; Pillow would write all of EXIF anew for it
            self.block.image.pop(ORIENTATION, None)
        if self.format == "tiff":
            self._fit_tiff()
        elif self.block:
            if self.block.exif:
                self.block.exif[WIDTH], self.block.exif[HEIGHT] = (self.block.long(side) for side in self.size)
            if self.format == "jpeg":
                self._fit_jpeg()
        written = Metadata(
            resolution, self.block.pack(), iptc, self.packet.pack(), text, comments, self.metadata.notes
        )
        return written, tuple(self.lost)

    # ----- text, comments, IPTC

    def _texts(self) -> tuple[tuple[TextEntry, ...], tuple[bytes, ...], bytes]:
        """PNG text, comments and IPTC as the format has them; what it has not goes into the block and the packet."""
        text, comments, iptc = self.metadata.text, self.metadata.comments, self.metadata.iptc
        if iptc and self.format not in HOLDS_IPTC:
            homeless = add_to_packet(iptc, self.packet)
            if self.format == "png":  # as ImageMagick writes and others read it: nothing is lost
                text, iptc = (*text, raw_profile("iptc", wrapped_resource(IPTC_RESOURCE, iptc))), b""
            elif homeless:
                self.lost.append(f"IPTC: {_count(homeless, 'field')} that XMP has no place for or says otherwise")
            iptc = b""
        if self.format == "png":
            return (*text, *(text_entry("Comment", decoded(comment)) for comment in comments)), (), iptc
        others: list[TextEntry] = []
        for entry in text:
            if entry.keyword.casefold() == "comment":
                comments = (*comments, entry.text.encode())
            elif not self._place(entry):
                others.append(entry)
        if comments and self.format != "jpeg":
            if not self._place_comment("\n".join(map(decoded, comments))):
                others += (text_entry("Comment", decoded(comment)) for comment in comments)
            comments = ()
        if others:
            items = "".join(structure("rdf:li", _fields(entry)) for entry in others)
            self.packet.add(f"<{OTHER_TEXT}><rdf:Bag>{items}</rdf:Bag></{OTHER_TEXT}>")
        return (), comments, iptc

    def _place(self, entry: TextEntry) -> bool:
        """Whether a PNG text found its place in EXIF or XMP, or stood there already."""
        number, name, kind = PLACES.get(entry.keyword.casefold(), (0, "", ""))
        text = entry.text.strip()
        if name == "xmp:CreateDate":
            text = iso_date(text)
        if not name or not text:
            return False
        placed = False
        if number:
            placed = tag_text(self.block.image.setdefault(number, text_tag(text))) == text
        present = self.packet.values(name)
        if not present:
            self.packet.put(name, [text], kind)
        return placed or not present or text in present

    def _place_comment(self, comment: str) -> bool:
        """Whether a comment is EXIF's UserComment now."""
        if USER_COMMENT in self.block.exif:
            return False
        if comment.isascii():
            value = b"ASCII\0\0\0" + comment.encode()
        else:
            value = b"UNICODE\0" + comment.encode("utf-16-le" if self.block.order == "<" else "utf-16-be")
        self.block.exif[USER_COMMENT] = Tag(UNDEFINED, len(value), value)
        return True

    # ----- resolution

    def _resolution(self) -> Resolution | None:
        """As the container says it; in EXIF too where that says more, or is there anyway."""
        resolution = self.metadata.resolution
        if resolution is None or self.format == "tiff":
            return resolution
        stored: Resolution | None = None
        if self.format == "jpeg":
            stored = in_whole_numbers(resolution)
        elif self.format == "png" or (self.format == "jp2" and resolution.unit != "none"):
            stored = resolution
        if resolution.unit == "none":
            if stored is None:
                self.lost.append(f"resolution: {self.name} has no place for the mere shape of pixels")
            return stored
        if self.block or not stored or not self._is_exact(stored):
            self.block.image[X_RESOLUTION] = self.block.rational(resolution.x)
            self.block.image[Y_RESOLUTION] = self.block.rational(resolution.y)
            self.block.image[RESOLUTION_UNIT] = self.block.short({"inch": 2, "centimeter": 3}[resolution.unit])
        return stored

    def _is_exact(self, stored: Resolution) -> bool:
        resolution = self.metadata.resolution
        assert resolution is not None
        if self.format == "png":
            x, y = in_unit(stored, "meter")
            read = per_meter(round(x), round(y))
            return read is not None and in_unit(read, "meter") == in_unit(resolution, "meter")
        return in_unit(stored, "meter") == in_unit(resolution, "meter")

    # ----- limits

    def _fit_tiff(self) -> None:
        """Sizes stand in the TIFF itself, values lie wherever there is room, numbers are little-endian."""
        for number in (WIDTH, HEIGHT):
            self.block.exif.pop(number, None)
        note = self.block.exif.get(MAKER_NOTE)
        if note and not note.value.startswith(MOVABLE_NOTES):
            del self.block.exif[MAKER_NOTE]
            self.lost.append("EXIF: the camera's MakerNote, whose parts cannot be found at another place")
        for folder in (self.block.image, self.block.exif, self.block.gps):
            for number, tag in folder.items():
                if tag.kind == UTF_8:  # a type that TIFF does not have; it means this one where it is UTF-8
                    folder[number] = Tag(ASCII, tag.count, tag.value)
        self.block.note_offset = None
        self.block = self.block.in_order("<")

    def _fit_jpeg(self) -> None:
        """Drops the largest tags of EXIF, MakerNote first, until it fits in a segment."""
        left_out = 0
        while len(self.block.pack()) > EXIF_LIMIT:
            folder, number = max(
                (
                    (folder, number)
                    for folder in (self.block.image, self.block.exif, self.block.gps)
                    for number in folder
                ),
                key=lambda place: (place[1] == MAKER_NOTE, len(place[0][place[1]].value)),
            )
            del folder[number]
            left_out += 1
        if left_out:
            self.lost.append(f"EXIF: {_count(left_out, 'tag')} beyond the 64 KB that JPEG has for it")


def raw_profile(name: str, data: bytes) -> TextEntry:
    """Metadata as PNG text in hexadecimal digits, as ImageMagick writes it and many programs read it."""
    digits = data.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    return TextEntry(f"Raw profile type {name}", f"\n{name}\n{len(data):8d}\n{lines}\n")


def text_entry(keyword: str, text: str) -> TextEntry:
    """PNG text, international where it has to be."""
    try:
        text.encode("latin-1")
        return TextEntry(keyword, text, international="\0" in text)
    except UnicodeEncodeError:
        return TextEntry(keyword, text, international=True)


def decoded(comment: bytes) -> str:
    """A comment's characters: UTF-8, or Latin-1 as nothing says which."""
    comment = comment.rstrip(b"\0")
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")


def iso_date(text: str) -> str:
    """A date as XMP writes it, from there or from e-mail's way (RFC 1123), which PNG advises; "" for other texts."""
    date, _, time = text.replace(" ", "T", 1).partition("T")
    written = date.replace(":", "-") + (f"T{time}" if time else "")
    if XMP_DATE.fullmatch(written):
        return written
    try:
        return parsedate_to_datetime(text).isoformat()
    except (ValueError, TypeError, IndexError):
        return ""


def _fields(entry: TextEntry) -> dict[str, str]:
    fields = {"chromagan:Keyword": entry.keyword, "chromagan:Value": entry.text}
    if entry.language:
        fields["chromagan:Language"] = entry.language
    return fields


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


__all__ = ["for_format"]
