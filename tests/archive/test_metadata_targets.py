"""Metadata in the way of the format that is written, and what is lost."""

import dataclasses
from fractions import Fraction

import described_pictures as made
import pytest

from modeling_chromagan.archive.exif_block import ExifBlock, Tag, parse_exif, tag_text, text_tag
from modeling_chromagan.archive.metadata import Metadata, Resolution, TextEntry
from modeling_chromagan.archive.metadata_targets import NAMES, OTHER_TEXT, for_format
from modeling_chromagan.archive.xmp import Packet

SIZE = (120, 80)
FORMATS = sorted(NAMES)
OTHERS = [name for name in FORMATS if name != "png"]


def exif_of(metadata: Metadata):
    return parse_exif(metadata.exif)


def resolution(x, y, unit="inch"):
    return Resolution(Fraction(x), Fraction(y), unit)


@pytest.mark.parametrize("output_format", FORMATS)
def test_nothing_becomes_nothing(output_format):
    assert for_format(Metadata(), output_format, SIZE) == (Metadata(), ())


@pytest.mark.parametrize("output_format", FORMATS)
def test_exif_and_xmp_are_kept_everywhere_and_sizes_are_those_of_the_result(output_format):
    given = Metadata(exif=made.exif(), xmp=made.XMP)
    written, lost = for_format(given, output_format, SIZE)
    assert lost == ()
    assert written.xmp == made.XMP
    block, before = exif_of(written), parse_exif(given.exif)
    assert tag_text(block.image[270]) == "Main street, 1905"
    assert block.gps.keys() == before.gps.keys()
    sizes = [block.numbers(block.exif.get(number)) for number in (0xA002, 0xA003)]
    assert sizes == ([[], []] if output_format == "tiff" else [[120], [80]])


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize(
    "stated", [resolution(300, 300), resolution(204, 98), resolution("120", "118.11", "centimeter")]
)
def test_resolutions_are_in_the_container_or_in_exif(output_format, stated):
    written, lost = for_format(Metadata(resolution=stated), output_format, SIZE)
    assert lost == ()
    if output_format in ("webp", "avif"):
        assert written.resolution is None
    if output_format == "tiff":
        assert (written.resolution, written.exif) == (stated, b"")
    if written.exif:
        block = exif_of(written)
        assert [block.numbers(block.image[number])[0] for number in (282, 283)] == [stated.x, stated.y]
        assert block.numbers(block.image[296])[0] == {"inch": 2, "centimeter": 3}[stated.unit]
    else:
        assert written.resolution == stated


def test_whole_numbers_need_no_exif():
    for output_format in ("jpeg", "png", "tiff", "jp2"):
        written, _ = for_format(Metadata(resolution=resolution(300, 300)), output_format, SIZE)
        assert written == Metadata(resolution=resolution(300, 300))


def test_jfif_has_whole_numbers_and_exif_the_exact_ones():
    written, _ = for_format(Metadata(resolution=resolution("299.75", "299.75")), "jpeg", SIZE)
    assert written.resolution == resolution(118, 118, "centimeter")  # 299.72 per inch: nearer than 300
    block = exif_of(written)
    assert block.numbers(block.image[282]) == [Fraction("299.75")]


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_mere_shape_of_pixels_is_kept_where_there_is_a_place(output_format):
    written, lost = for_format(Metadata(resolution=resolution(2, 1, "none")), output_format, SIZE)
    if output_format in ("png", "jpeg", "tiff"):
        assert (written.resolution, lost) == (resolution(2, 1, "none"), ())
    else:
        assert (written, len(lost)) == (Metadata(), 1)


CAPTION = made.iptc((120, "Straße".encode()), (25, b"street"), (7, b"status"))


@pytest.mark.parametrize("output_format", FORMATS)
def test_iptc_is_kept_or_becomes_xmp(output_format):
    written, lost = for_format(Metadata(iptc=CAPTION), output_format, SIZE)
    if output_format in ("jpeg", "tiff", "jp2"):
        assert (written, lost) == (Metadata(iptc=CAPTION), ())
        return
    assert written.iptc == b""
    assert Packet(written.xmp).values("dc:description") == ["Straße"]
    assert Packet(written.xmp).values("dc:subject") == ["street"]
    if output_format == "png":  # which has the records too
        assert [entry.keyword for entry in written.text] == ["Raw profile type iptc"]
        assert lost == ()
    else:
        assert lost == ("IPTC: 1 field that XMP has no place for or says otherwise",)


TEXTS = (
    TextEntry("Title", "Main street"),
    TextEntry("Author", "Žižka", True),
    TextEntry("Description", "Horses"),
    TextEntry("Copyright", "Public domain"),
    TextEntry("Creation Time", "Tue, 04 Jul 1905 12:00:00 +0100"),
    TextEntry("Software", "ScanSoft"),
    TextEntry("Comment", "ein Wort", True, "de"),
    TextEntry("Box", "7", True, "de"),
)


@pytest.mark.parametrize("output_format", OTHERS)
def test_png_text_becomes_exif_and_xmp(output_format):
    written, lost = for_format(Metadata(text=TEXTS), output_format, SIZE)
    assert lost == ()
    assert written.text == ()
    block, packet = exif_of(written), Packet(written.xmp)
    assert {number: tag_text(block.image[number]) for number in (270, 305, 315, 33432)} == {
        270: "Horses",
        305: "ScanSoft",
        315: "Žižka",
        33432: "Public domain",
    }
    assert packet.values("dc:title") == ["Main street"]
    assert packet.values("dc:creator") == ["Žižka"]
    assert packet.values("xmp:CreateDate") == ["1905-07-04T12:00:00+01:00"]
    assert "<chromagan:Keyword>Box</chromagan:Keyword><chromagan:Value>7</chromagan:Value>" in written.xmp.decode()
    if output_format == "jpeg":
        assert written.comments == (b"ein Wort",)
    else:
        assert block.exif[0x9286].value == b"ASCII\0\0\0ein Wort"


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("1905", "1905"),
        ("1905:07:04 12:00:00", "1905-07-04T12:00:00"),
        ("1905-07-04T12:00:00.5+01:00", "1905-07-04T12:00:00.5+01:00"),
        ("Tue, 4 Jul 1905 12:00:00 +0100", "1905-07-04T12:00:00+01:00"),
        ("1905-1910", ""),
        ("1905-ca. summer", ""),
        ("2019-01-01 12:00:00 UTC", ""),
    ],
)
def test_only_dates_become_dates(text, date):
    packet = Packet(for_format(Metadata(text=(TextEntry("Creation Time", text),)), "tiff", SIZE)[0].xmp)
    assert packet.values("xmp:CreateDate") == ([date] if date else [])
    assert (OTHER_TEXT.encode() in packet.original) == (not date)


def test_png_text_stays_in_a_png():
    assert for_format(Metadata(text=TEXTS), "png", SIZE) == (Metadata(text=TEXTS), ())


def test_text_does_not_push_out_what_is_there():
    given = Metadata(text=TEXTS[2:3], exif=made.exif(), xmp=Packet(made.XMP).pack())
    packet = Packet(given.xmp)
    packet.put("dc:description", ["another"], "Alt")
    written, _ = for_format(dataclasses.replace(given, xmp=packet.pack()), "tiff", SIZE)
    assert tag_text(exif_of(written).image[270]) == "Main street, 1905"
    assert Packet(written.xmp).values("dc:description") == ["another"]
    assert "<chromagan:Value>Horses</chromagan:Value>" in written.xmp.decode()


@pytest.mark.parametrize("output_format", FORMATS)
def test_comments_are_kept_everywhere(output_format):
    comments = ("Straße".encode(), "Gläser".encode("latin-1") + b"\0")
    written, lost = for_format(Metadata(comments=comments), output_format, SIZE)
    assert lost == ()
    if output_format == "jpeg":
        assert written == Metadata(comments=comments)
    elif output_format == "png":
        assert written == Metadata(text=(TextEntry("Comment", "Straße"), TextEntry("Comment", "Gläser")))
    else:
        assert exif_of(written).exif[0x9286].value == b"UNICODE\0" + "Straße\nGläser".encode("utf-16-le")


def test_a_tiff_gets_little_endian_numbers_and_no_maker_note_that_cannot_move():
    block = parse_exif(made.exif(">"))
    block.exif[0x927C], block.note_offset = Tag(7, 20, b"Maker" + bytes(15)), 700
    written, lost = for_format(Metadata(exif=block.pack()), "tiff", SIZE)
    assert written.exif[:2] == b"II"
    assert 0x927C not in exif_of(written).exif
    assert len(lost) == 1
    written, lost = for_format(Metadata(exif=block.pack()), "webp", SIZE)
    assert written.exif[700:705] == b"Maker"
    assert lost == ()


def test_utf_8_of_exif_3_is_text_in_a_tiff():
    block = parse_exif(made.exif())
    block.image[315] = Tag(129, 7, "Žižka".encode() + b"\0")
    for output_format, kind in (("tiff", 2), ("webp", 129)):
        written, _ = for_format(Metadata(exif=block.pack()), output_format, SIZE)
        assert exif_of(written).image[315].kind == kind
        assert tag_text(exif_of(written).image[315]) == "Žižka"


def test_exif_that_is_too_large_for_a_jpeg_loses_its_largest_tags():
    block = parse_exif(made.exif())
    block.exif[0x927C] = Tag(7, 50_000, b"Nikon\0\2" + bytes(49_993))
    block.image[270] = text_tag("word " * 11_000)
    block.image[269] = text_tag("Box 7")
    given = Metadata(exif=block.pack())
    written, lost = for_format(given, "jpeg", SIZE)
    assert len(written.exif) <= 65_527
    assert 0x927C not in exif_of(written).exif  # the MakerNote goes first
    assert tag_text(exif_of(written).image[270]).startswith("word")
    assert lost == ("EXIF: 1 tag beyond the 64 KB that JPEG has for it",)
    assert for_format(given, "png", SIZE)[1] == ()


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_folder_of_exif_has_its_version(output_format):
    block = ExifBlock()
    block.exif[0x9003] = text_tag("1905:07:04 12:00:00")  # as of a TIFF that has its date in the first folder
    written, _ = for_format(Metadata(exif=block.pack()), output_format, SIZE)
    assert exif_of(written).exif[0x9000] == Tag(7, 4, b"0232")


def test_what_was_damaged_is_lost_with_a_word():
    written, lost = for_format(Metadata(exif=b"nonsense", xmp=b"nonsense"), "png", SIZE)
    assert (written, len(lost)) == (Metadata(), 2)


def test_notes_of_reading_stay():
    assert for_format(Metadata(notes=("a note",)), "jpeg", SIZE)[0].notes == ("a note",)
