"""What files of every format say besides their pixels."""

import io
import struct
import zlib
from fractions import Fraction

import described_pictures as made
import pytest
from described_pictures import XMP, opened
from PIL import ExifTags, Image

from modeling_chromagan.archive.exif_block import parse_exif, tag_text
from modeling_chromagan.archive.metadata import Metadata, Resolution, TextEntry
from modeling_chromagan.archive.metadata_reading import read_boxes, read_metadata
from modeling_chromagan.archive.xmp import Packet, split

CAPTION = made.iptc((120, "Straße".encode()), (25, b"street"), (25, b"horses"))


def resolution(x, y, unit="inch"):
    return Resolution(Fraction(x), Fraction(y), unit)


def phys(x, y, unit):
    return made.png((b"pHYs", struct.pack(">IIB", x, y, unit)))


def jfif(unit, x, y):
    data = bytearray(made.jpeg())
    data[13:18] = struct.pack(">BHH", unit, x, y)
    return bytes(data)


def tiff_resolution(x, y, unit):
    return made.tiff({282: x, 283: y} | ({296: unit} if unit else {}))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (jfif(1, 300, 300), resolution(300, 300)),
        (jfif(1, 204, 98), resolution(204, 98)),
        (jfif(2, 118, 120), resolution(118, 120, "centimeter")),
        (jfif(0, 1, 1), None),
        (jfif(0, 2, 1), resolution(2, 1, "none")),
        (jfif(1, 0, 0), None),
        (phys(11811, 11811, 1), resolution(300, 300)),
        (phys(8031, 3858, 1), resolution(204, 98)),
        (phys(12000, 12000, 1), resolution(120, 120, "centimeter")),
        (phys(2, 1, 0), resolution(2, 1, "none")),
        (tiff_resolution(300, 300, 2), resolution(300, 300)),
        (tiff_resolution(204, 98, 2), resolution(204, 98)),
        (tiff_resolution(118.25, 120, 3), resolution("118.25", 120, "centimeter")),
        (tiff_resolution(2, 1, 1), resolution(2, 1, "none")),
        (tiff_resolution(1, 1, 1), None),
        (tiff_resolution(600, 600, None), resolution(600, 600)),
        (made.tiff({}), None),
        (made.encoded("BMP", dpi=(300, 300)), resolution(300, 300)),
        (made.encoded("GIF"), None),
        (made.jp2(), None),
        (made.jp2(header=made.capture_resolution(11811, 3858)), resolution(300, 98)),
        (made.encoded("WEBP", exif=made.exif(resolution=(300, 300))), resolution(300, 300)),
        (made.encoded("AVIF", exif=made.exif(resolution=(300, 200), unit=3)), resolution(300, 200, "centimeter")),
        (made.jpeg(exif=b"Exif\0\0" + made.exif(resolution=(1200.5, 1200.5))), resolution("1200.5", "1200.5")),
    ],
)
def test_resolutions_are_what_people_mean_by_the_stored_numbers(data, expected):
    assert read_metadata(opened(data)).resolution == expected


def test_exif_makes_the_whole_numbers_of_jfif_exact_but_does_not_contradict_them():
    exact, other = (b"Exif\0\0" + made.exif(resolution=(number, number)) for number in (299.75, 72))
    assert read_metadata(opened(made.jpeg(dpi=(300, 300), exif=exact))).resolution == resolution("299.75", "299.75")
    assert read_metadata(opened(made.jpeg(dpi=(300, 300), exif=other))).resolution == resolution(300, 300)


def wherever_exif_can_stand(block):
    hexadecimal = f"\nexif\n{len(block) + 6:8d}\n{(b'Exif' + bytes(2) + block).hex()}\n".encode()
    return {
        "jpeg": made.jpeg((0xE1, b"Exif\0\0" + block)),
        "png": made.png((b"eXIf", block)),
        "png behind the pixels": made.png((b"eXIf", block), behind=True),
        "png as text": made.png((b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hexadecimal))),
        "webp": made.encoded("WEBP", exif=block),
        "avif": made.encoded("AVIF", exif=block),
        "jp2": made.jp2(made.box(b"uuid", b"JpgTiffExif->JP2" + block)),
    }


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("place", wherever_exif_can_stand(made.exif()))
def test_exif_is_found_wherever_it_stands_and_made_true(place, order):
    metadata = read_metadata(opened(wherever_exif_can_stand(made.exif(order, orientation=1))[place]))
    assert metadata.notes == ()
    found = Image.Exif()
    found.load(metadata.exif)
    assert (found[270], found[315], found[33432]) == ("Main street, 1905", "A photographer", "Public domain")
    assert found.get(274, 1) == 1
    camera = found.get_ifd(0x8769)
    assert camera[0x9003] == "1905:07:04 12:00:00"
    assert float(camera[0x829A]) == 1 / 125
    assert not {0xA001, 0xA002, 0xA003} & set(camera)  # sizes and color space are of other pixels
    assert found.get_ifd(0x8825) == {1: "N", 2: (52.0, 31.0, 0.0)}


def test_what_depends_on_the_orientation_turns_with_the_picture():
    data = made.jpeg(dpi=(204, 98), exif=b"Exif\0\0" + made.exif(orientation=6))
    metadata = read_metadata(opened(data))
    assert metadata.resolution == resolution(98, 204)
    block = parse_exif(metadata.exif)
    assert block.numbers(block.image[274]) == [1]
    assert 0x9214 not in block.exif  # where the subject is, in pixels that were not turned


def test_thumbnails_are_left_out():
    with_thumbnail = bytearray(made.exif())
    block = parse_exif(bytes(with_thumbnail))
    small = made.jpeg()
    folder = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, len(with_thumbnail) + 30, 514, 4, 1, len(small), 0)
    start = struct.unpack_from("<I", with_thumbnail, 4)[0]
    after = start + 2 + 12 * struct.unpack_from("<H", with_thumbnail, start)[0]
    with_thumbnail[after : after + 4] = struct.pack("<I", len(with_thumbnail))
    data = made.jpeg((0xE1, b"Exif\0\0" + bytes(with_thumbnail) + folder + small))
    assert opened(data).getexif().get_ifd(ExifTags.IFD.IFD1)  # it is one
    metadata = read_metadata(opened(data))
    assert b"JFIF" not in metadata.exif
    assert parse_exif(metadata.exif).image.keys() == block.image.keys()


def test_tags_of_a_tiff_are_exif_but_not_those_of_its_pixels():
    tags = {270: "Gläser", 269: "Box 7", 305: "ScanSoft 3", 306: "2001:02:03 04:05:06", 315: "A. Photographer"}
    data = made.tiff({**tags, 33550: (1.0, 1.0, 0.0)}, description="Gl", compression="tiff_lzw")
    metadata = read_metadata(opened(data))
    block = parse_exif(metadata.exif)
    assert {n: tag_text(block.image[n]) for n in (269, 305, 306, 315)} == {n: tags[n] for n in (269, 305, 306, 315)}
    assert set(block.image) == {269, 270, 305, 306, 315, 33550}  # the scale of a map too
    assert block.numbers(block.image[33550]) == [1, 1, 0]


def test_the_number_of_a_page_in_its_document_is_kept():
    block = parse_exif(read_metadata(opened(made.tiff({285: "Folio 3", 297: (2, 9)}))).exif)
    assert (tag_text(block.image[285]), block.numbers(block.image[297])) == ("Folio 3", [2, 9])


def test_bytes_of_text_stay_as_they_are():
    for value in ("Gläser".encode(), "Gläser".encode("latin-1"), b"photographer\0editor"):
        block = made.exif().replace(b"Main street, 1905"[: len(value)], value)
        assert value in read_metadata(opened(made.jpeg((0xE1, b"Exif\0\0" + block)))).exif


def test_a_date_where_tiff_has_it_is_also_where_cameras_have_it(data_root):
    for name in ("exif.jpg", "exif.tif"):
        with Image.open(data_root / "cases" / name) as image:
            block = parse_exif(read_metadata(image).exif)
        assert tag_text(block.image[0x9003]) == tag_text(block.exif[0x9003]) == "1905:07:04 12:00:00"
        assert tag_text(block.image[270]) == "Main street, 1905"


def test_descriptions_about_the_layout_of_the_file_are_left_out():
    for description in ("ImageJ=1.53k\nimages=3\n", '{"shape": [10, 12]}', '<?xml version="1.0"?><OME xmlns="x"/>'):
        metadata = read_metadata(opened(made.tiff({270: description})))
        assert metadata.exif == b""
        assert len(metadata.notes) == 1


def test_what_photoshop_says_of_rights_and_png_of_time_becomes_xmp():
    resources = b"8BIM\x04\x0a\0\0\0\0\0\1\1\0"
    resources += b"8BIM\x04\x0b\0\0\0\0\0\x13http://example.org/\0" + made.photoshop(CAPTION)
    for data in (made.jpeg((0xED, b"Photoshop 3.0\0" + resources)), made.tiff({34377: resources})):
        metadata = read_metadata(opened(data))
        assert metadata.iptc == CAPTION
        assert Packet(metadata.xmp).values("xmpRights:Marked") == ["True"]
        assert Packet(metadata.xmp).values("xmpRights:WebStatement") == ["http://example.org/"]
    timed = made.png((b"tIME", struct.pack(">H5B", 2001, 2, 3, 4, 5, 6)))
    assert Packet(read_metadata(opened(timed)).xmp).values("xmp:ModifyDate") == ["2001-02-03T04:05:06Z"]


def test_every_page_of_a_tiff_has_its_own():
    memory = io.BytesIO()
    pages = [made.gray() for _ in range(3)]
    for number, page in enumerate(pages):
        page.encoderinfo = {"description": f"page {number}", "dpi": (100 * (number + 1), 300)}
    pages[0].save(memory, "TIFF", save_all=True, append_images=pages[1:], **pages[0].encoderinfo)
    image = opened(memory.getvalue())
    for number in (2, 0, 1):
        image.seek(number)
        metadata = read_metadata(image)
        assert tag_text(parse_exif(metadata.exif).image[270]) == f"page {number}"
        assert metadata.resolution == resolution(100 * (number + 1), 300)
        image.load()
        assert image.getpixel((11, 9)) == 119


def wherever_iptc_can_stand():
    wrapped = b"Photoshop 3.0\0" + made.photoshop(CAPTION)
    hexadecimal = f"\niptc\n{len(CAPTION):8d}\n{CAPTION.hex()}\n".encode()
    swapped = CAPTION + bytes(-len(CAPTION) % 4)
    swapped = b"".join(swapped[place : place + 4][::-1] for place in range(0, len(swapped), 4))
    return {
        "jpeg": made.jpeg((0xED, wrapped)),
        "jpeg in two segments": made.jpeg((0xED, wrapped[:70]), (0xED, b"Photoshop 3.0\0" + wrapped[70:])),
        "tiff": made.tiff({33723: CAPTION}),
        "tiff as swapped numbers": made.tiff({33723: swapped}),
        "tiff of Photoshop": made.tiff({34377: made.photoshop(CAPTION)}),
        "png": made.png((b"tEXt", b"Raw profile type iptc\0" + hexadecimal)),
        "jp2": made.jp2(made.box(b"uuid", bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38") + CAPTION)),
    }


@pytest.mark.parametrize("place", wherever_iptc_can_stand())
def test_iptc_is_found_wherever_it_stands(place):
    data = wherever_iptc_can_stand()[place]
    if place == "tiff as swapped numbers":
        entry = data.index(struct.pack("<H", 33723))
        count = len(CAPTION) + -len(CAPTION) % 4
        data = data[: entry + 2] + struct.pack("<HI", 4, count // 4) + data[entry + 8 :]
    metadata = read_metadata(opened(data))
    assert metadata.iptc == CAPTION
    assert metadata.exif == b""
    assert metadata.notes == ()


def test_previews_in_iptc_are_left_out():
    data = made.jpeg((0xED, b"Photoshop 3.0\0" + made.photoshop(made.iptc((120, b"x"), (202, b"preview")))))
    assert read_metadata(opened(data)).iptc == made.iptc((120, b"x"))


def wherever_xmp_can_stand():
    international = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)
    uuid = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    return {
        "jpeg": made.jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
        "png": made.png((b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP)),
        "png compressed": made.png((b"iTXt", international), behind=True),
        "tiff": made.tiff({700: XMP}),
        "webp": made.encoded("WEBP", xmp=XMP),
        "avif": made.encoded("AVIF", xmp=XMP),
        "gif": made.gif(made.gif_xmp(XMP)),
        "jp2": made.jp2(made.box(b"uuid", uuid + XMP)),
        "jp2 as xml": made.jp2(made.box(b"xml ", XMP)),
    }


@pytest.mark.parametrize("place", wherever_xmp_can_stand())
def test_xmp_is_found_wherever_it_stands_and_nothing_of_it_changes(place):
    metadata = read_metadata(opened(wherever_xmp_can_stand()[place]))
    assert metadata.xmp == XMP
    assert metadata.text == ()
    assert metadata.notes == ()


def test_xmp_of_many_segments_is_joined():
    packet = Packet(XMP)
    packet.put("dc:relation", ["one word after another " * 8000], "Bag")
    standard, extended = split(packet.pack(), 65_000)
    guid = Packet(standard).values("xmpNote:HasExtendedXMP")[0].encode()
    parts = [
        (
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + guid
            + struct.pack(">II", len(extended), n)
            + extended[n : n + 60000],
        )
        for n in range(0, len(extended), 60000)
    ]
    assert len(parts) == 4
    first = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + standard)
    for order in (parts, parts[::-1]):
        metadata = read_metadata(opened(made.jpeg(first, *order)))
        assert metadata.notes == ()
        assert len(Packet(metadata.xmp).values("dc:relation")[0]) == 184_000
        assert Packet(metadata.xmp).values("dc:source") == ["Box 7, Gläser"]
        assert not Packet(metadata.xmp).values("xmpNote:HasExtendedXMP")
    lacking = read_metadata(opened(made.jpeg(first, *parts[1:])))
    assert len(lacking.notes) == 1
    assert Packet(lacking.xmp).values("dc:source") == ["Box 7, Gläser"]
    alone = read_metadata(opened(made.jpeg(first)))
    assert len(alone.notes) == 1
    assert not Packet(alone.xmp).values("xmpNote:HasExtendedXMP")  # of which there is none


def test_a_damaged_extension_of_xmp_takes_nothing_else_with_it():
    iptc, guid = made.iptc((120, b"A caption")), b"0" * 32
    packet = XMP.replace(b"<rdf:Description ", b'<rdf:Description xmlns:n="http://ns.adobe.com/xmp/note/" ', 1)
    packet = packet.replace(
        b"</rdf:Description>", b"<n:HasExtendedXMP>" + guid + b"</n:HasExtendedXMP></rdf:Description>"
    )
    segments = (
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet),
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + guid),
        (0xED, b"Photoshop 3.0\0" + made.photoshop(iptc)),
        (0xFE, b"A comment"),
    )
    metadata = read_metadata(opened(made.jpeg(*segments)))
    assert (metadata.iptc, metadata.comments) == (iptc, (b"A comment",))
    assert Packet(metadata.xmp).values("dc:source") == ["Box 7, Gläser"]
    assert metadata.notes == ("its extended XMP cannot be read and is left out (it is damaged)",)


def test_what_xmp_says_of_other_pixels_goes_out():
    stale = XMP.replace(
        b"xmp:CreatorTool=",
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:ImageWidth="9" xmp:CreatorTool=',
    )
    packet = Packet(read_metadata(opened(made.tiff({700: stale}))).xmp)
    assert packet.values("tiff:Orientation") == ["1"]
    assert packet.values("tiff:ImageWidth") == []
    assert packet.values("xmp:CreatorTool") == ["A scanner"]
    assert packet.values("dc:source") == ["Box 7, Gläser"]


def test_all_kinds_of_png_text_are_read_before_and_behind_the_pixels():
    kinds = (
        (b"tEXt", "Description\0Gläser".encode("latin-1")),
        (b"tEXt", b"Description\0another"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"long " * 99)),
        (b"iTXt", "Title\0\0\0de\0Titel\0Žižkov".encode()),
        (b"iTXt", b"Warning\0\1\0\0\0" + zlib.compress("ß".encode())),
    )
    for behind in (False, True):
        assert read_metadata(opened(made.png(*kinds, behind=behind))).text == (
            TextEntry("Description", "Gläser"),
            TextEntry("Description", "another"),
            TextEntry("Comment", "long " * 99),
            TextEntry("Title", "Žižkov", True, "de", "Titel"),
            TextEntry("Warning", "ß", True),
        )


def test_comments_are_read():
    assert read_metadata(opened(made.jpeg((0xFE, b"one"), (0xFE, b"two\0")))).comments == (b"one", b"two\0")
    assert read_metadata(opened(made.encoded("GIF", comment=b"three"))).comments == (b"three",)
    assert read_metadata(opened(made.encoded("JPEG2000", comment="four"))).comments == (b"four",)
    content = made.encoded("JPEG2000", comment="four")
    further = b"\xff\x64\0\x08\0\1f\xfcnf"
    start = content.index(b"\xff\x90")
    content = content[:start] + further + content[start:]
    assert read_metadata(opened(content)).comments == (b"four", b"f\xfcnf")
    assert read_metadata(opened(made.encoded("JPEG2000"))).comments == ()  # what OpenJPEG says of itself


@pytest.mark.parametrize("pack", [bytes, "brotli"])
def test_boxes_of_jpeg_xl_are_read_from_its_bytes(pack):
    import imagecodecs

    data = imagecodecs.jpegxl_encode(made.np.zeros((10, 12), made.np.uint8), usecontainer=True)
    parts = ((b"Exif", bytes(4) + made.exif(resolution=(300, 300))), (b"xml ", XMP))
    if pack == "brotli":
        parts = tuple((b"brob", name + imagecodecs.brotli_encode(content)) for name, content in parts)
    metadata = read_boxes(data + b"".join(made.box(*part) for part in parts))
    assert metadata.notes == ()
    assert metadata.resolution == resolution(300, 300)
    assert metadata.xmp == XMP
    assert tag_text(parse_exif(metadata.exif).image[270]) == "Main street, 1905"


def test_heic_is_read():
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    data = made.encoded("HEIF", exif=made.exif(resolution=(300, 300)), xmp=XMP)
    metadata = read_metadata(opened(data))
    assert metadata.resolution == resolution(300, 300)
    assert metadata.xmp == XMP
    assert tag_text(parse_exif(metadata.exif).image[315]) == "A photographer"


DAMAGED = {
    "exif": made.jpeg((0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "xmp": made.jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'>")),
    "entities": made.jpeg((0xE1, b'http://ns.adobe.com/xap/1.0/\0<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')),
    "iptc": made.jpeg((0xED, b"Photoshop 3.0\0" + made.photoshop(b"\x1c\2\x78\0\x99short"))),
    "iptc resource": made.jpeg((0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff" + made.iptc((25, b"x")))),
    "text": made.png((b"zTXt", b"Comment\0\0nonsense")),
    "raw profile": made.png((b"tEXt", b"Raw profile type exif\0\nexif\n  10\nzz")),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_metadata_is_left_out_with_a_note_and_never_fails_a_picture(kind):
    image = opened(DAMAGED[kind])
    metadata = read_metadata(image)
    assert metadata == Metadata()
    assert len(metadata.notes) == 1
    assert "\n" not in metadata.notes[0]


def test_every_truncation_of_metadata_is_survived():
    block = made.exif()
    for length in range(8, len(block)):
        metadata = read_metadata(opened(made.png((b"eXIf", block[:length]))))
        assert metadata.exif == b"" or parse_exif(metadata.exif)
    whole = made.jp2(made.box(b"uuid", b"JpgTiffExif->JP2" + block), header=made.capture_resolution(11811, 11811))
    for length in range(0, len(whole), 7):
        read_boxes(whole[:length])


def test_reading_metadata_does_not_disturb_the_decoding():
    for data in (made.png((b"tEXt", b"Title\0x"), behind=True), made.tiff({270: "x"}), made.gif(), made.jp2()):
        image, untouched = opened(data), opened(data)
        read_metadata(image)
        assert image.tobytes() == untouched.tobytes()
