"""Every kind of metadata from every format that is read into every format that is written, and read back."""

import io
import struct
import xml.etree.ElementTree as ElementTree
from fractions import Fraction

import described_pictures as made
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from modeling_chromagan.archive.exif_block import Tag, parse_exif, tag_text
from modeling_chromagan.archive.metadata import Metadata, Resolution, TextEntry
from modeling_chromagan.archive.metadata_reading import read_boxes, read_metadata
from modeling_chromagan.archive.metadata_targets import NAMES, for_format
from modeling_chromagan.archive.pages import ColoredPage
from modeling_chromagan.archive.provenance import SOURCE_TYPE, Provenance, add_provenance
from modeling_chromagan.archive.writing import encode_pages
from modeling_chromagan.archive.xmp import Packet

WRITTEN = sorted(NAMES)
EXIF = made.exif(resolution=(300, 150))
PREFIXED = b"Exif\0\0" + EXIF
IPTC = made.iptc((120, "Straße".encode()), (25, b"street"), (90, b"Berlin"))
WRAPPED_IPTC = b"Photoshop 3.0\0" + made.photoshop(IPTC)
UUIDS = {"xmp": "be7acfcb97a942e89c71999491e3afac", "iptc": "33c7a4d2b81d4723a0baf1a3e097ad38"}
SAID = Resolution(Fraction(300), Fraction(150), "inch")


def jpeg_xl(*boxes: bytes) -> bytes:
    return imagecodecs.jpegxl_encode(np.zeros((10, 12), np.uint8), usecontainer=True) + b"".join(boxes)


def heic(**settings: bytes) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    return made.encoded("HEIF", **settings)


def jfif(data: bytes) -> bytes:
    return data[:13] + struct.pack(">BHH", 1, 300, 150) + data[18:]


def exif_tiff() -> bytes:
    """A TIFF whose folders are those of the EXIF block."""
    memory = io.BytesIO()
    block = Image.Exif()
    block.load(EXIF)
    made.gray().save(memory, "TIFF", exif=block)
    return memory.getvalue()


def uuid(name: str, data: bytes) -> bytes:
    return made.box(b"uuid", bytes.fromhex(UUIDS[name]) + data)


# What each format that is read can say, in that format's own way.
SOURCES = {
    "resolution": {
        "jpeg": lambda: jfif(made.jpeg()),
        "png": lambda: made.png((b"pHYs", struct.pack(">IIB", 11811, 5906, 1))),
        "tiff": lambda: made.tiff({282: 300, 283: 150, 296: 2}),
        "bmp": lambda: made.encoded("BMP", dpi=(300, 150)),
        "jp2": lambda: made.jp2(header=made.capture_resolution(11811, 5906)),
        "webp": lambda: made.encoded("WEBP", exif=EXIF),
        "avif": lambda: made.encoded("AVIF", exif=EXIF),
        "heic": lambda: heic(exif=PREFIXED),
        "jxl": lambda: jpeg_xl(made.box(b"Exif", bytes(4) + EXIF)),
    },
    "exif": {
        "jpeg": lambda: made.jpeg((0xE1, PREFIXED)),
        "png": lambda: made.png((b"eXIf", EXIF), behind=True),
        "tiff": exif_tiff,
        "jp2": lambda: made.jp2(made.box(b"uuid", b"JpgTiffExif->JP2" + EXIF)),
        "webp": lambda: made.encoded("WEBP", exif=EXIF),
        "avif": lambda: made.encoded("AVIF", exif=EXIF),
        "heic": lambda: heic(exif=PREFIXED),
        "jxl": lambda: jpeg_xl(made.box(b"Exif", bytes(4) + EXIF)),
    },
    "iptc": {
        "jpeg": lambda: made.jpeg((0xED, WRAPPED_IPTC)),
        "png": lambda: made.png((b"tEXt", f"Raw profile type iptc\0\niptc\n{len(IPTC)}\n{IPTC.hex()}\n".encode())),
        "tiff": lambda: made.tiff({33723: IPTC}),
        "jp2": lambda: made.jp2(uuid("iptc", IPTC)),
    },
    "xmp": {
        "jpeg": lambda: made.jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + made.XMP)),
        "png": lambda: made.png((b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + made.XMP)),
        "tiff": lambda: made.tiff({700: made.XMP}),
        "gif": lambda: made.gif(made.gif_xmp(made.XMP)),
        "jp2": lambda: made.jp2(uuid("xmp", made.XMP)),
        "webp": lambda: made.encoded("WEBP", xmp=made.XMP),
        "avif": lambda: made.encoded("AVIF", xmp=made.XMP),
        "heic": lambda: heic(xmp=made.XMP),
        "jxl": lambda: jpeg_xl(made.box(b"xml ", made.XMP)),
    },
    "text": {
        "png": lambda: made.png((b"tEXt", b"Description\0Main street"), (b"iTXt", "Box\0\0\0de\0\0№ 7".encode())),
    },
    "comment": {
        "jpeg": lambda: made.jpeg((0xFE, "Gläser".encode())),
        "gif": lambda: made.encoded("GIF", comment="Gläser".encode()),
        "jp2": lambda: made.encoded("JPEG2000", comment="Gläser".encode()),
    },
}
CASES = [(kind, source) for kind, sources in SOURCES.items() for source in sources]


def read(data: bytes, source: str = "") -> Metadata:
    return read_boxes(data) if source == "jxl" else read_metadata(made.opened(data))


def write(metadata: Metadata, output_format: str, depth: int = 8) -> bytes:
    pixels = np.full((10, 12, 3), 77, np.uint8 if depth == 8 else np.uint16)
    page = ColoredPage(pixels, metadata)
    return encode_pages([page], output_format=output_format, layout="single", profile=b"")


def passed_on(data: bytes, source: str, output_format: str, depth: int = 8) -> tuple[Metadata, bytes, tuple[str, ...]]:
    """What is read back of a file that was written with another's metadata, that file, and what was lost."""
    found = read(data, source)
    assert found.notes == ()
    said, lost = for_format(found, output_format, (12, 10))
    written = write(said, output_format, depth)
    return read(written), written, lost


@pytest.mark.parametrize("output_format", WRITTEN)
@pytest.mark.parametrize(("kind", "source"), CASES)
def test_what_was_said_is_said_again(kind, source, output_format):
    back, _, lost = passed_on(SOURCES[kind][source](), source, output_format)
    assert lost == ()
    assert back.notes == ()
    CHECKS[kind](back, output_format)


def check_resolution(back, output_format):
    assert back.resolution == SAID


def check_exif(back, output_format):
    block = parse_exif(back.exif)
    texts = {number: tag_text(block.image[number]) for number in (270, 315, 33432)}
    assert texts == {270: "Main street, 1905", 315: "A photographer", 33432: "Public domain"}
    assert tag_text(block.exif[0x9003]) == "1905:07:04 12:00:00"
    assert block.numbers(block.exif[0x829A]) == [Fraction(1, 125)]
    assert block.numbers(block.gps[2]) == [52, 31, 0]
    assert back.resolution == SAID


def check_iptc(back, output_format):
    if output_format in ("jpeg", "tiff", "jp2", "png"):
        assert back.iptc == IPTC
    if output_format not in ("jpeg", "tiff", "jp2"):
        packet = Packet(back.xmp)
        assert packet.values("dc:description") == ["Straße"]
        assert packet.values("dc:subject") == ["street"]
        assert packet.values("photoshop:City") == ["Berlin"]


def check_xmp(back, output_format):
    assert back.xmp == made.XMP


def check_text(back, output_format):
    if output_format == "png":
        assert back.text == (TextEntry("Description", "Main street"), TextEntry("Box", "№ 7", True, "de"))
        return
    assert tag_text(parse_exif(back.exif).image[270]) == "Main street"
    assert Packet(back.xmp).values("dc:description") == ["Main street"]
    assert "<chromagan:Value>№ 7</chromagan:Value>" in back.xmp.decode()


def check_comment(back, output_format):
    if output_format == "jpeg":
        assert [comment.decode() for comment in back.comments] == ["Gläser"]
    elif output_format == "png":
        assert back.text == (TextEntry("Comment", "Gläser"),)
    else:
        assert parse_exif(back.exif).exif[0x9286].value.decode("utf-16-le", "replace").endswith("Gläser")


CHECKS = {
    "resolution": check_resolution,
    "exif": check_exif,
    "iptc": check_iptc,
    "xmp": check_xmp,
    "text": check_text,
    "comment": check_comment,
}


@pytest.mark.parametrize("output_format", ["png", "tiff", "jp2"])
@pytest.mark.parametrize("kind", SOURCES)
def test_depth_changes_nothing_of_it(kind, output_format):
    back, *_ = passed_on(SOURCES[kind]["png" if kind == "text" else "jpeg"](), "jpeg", output_format, depth=16)
    CHECKS[kind](back, output_format)


@pytest.mark.parametrize(("kind", "source"), CASES)
def test_whatever_is_read_of_damaged_files_can_be_written(kind, source):
    content, random = SOURCES[kind][source](), np.random.default_rng(5)
    for _ in range(20):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), 3):
            damaged[position] = random.choice([0, 255, random.integers(0, 256)])
        if source != "jxl":
            try:
                made.opened(bytes(damaged))
            except Exception:  # whatever Pillow raises at damage that is not ours
                continue
        found = read(bytes(damaged), source)
        for output_format in ("jpeg", "png", "tiff", "jp2"):
            said, _ = for_format(found, output_format, (12, 10))
            assert read(write(said, output_format)).notes == ()


# ----- readers that are not ours


@pytest.mark.parametrize("output_format", WRITTEN)
def test_pillow_finds_what_was_written(output_format):
    source = made.jpeg((0xE1, PREFIXED), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + made.XMP))
    _, written, _ = passed_on(source, "jpeg", output_format)
    image = made.opened(written)
    if output_format != "jp2":  # of which Pillow reads neither
        exif = image.getexif()
        assert exif[270] == "Main street, 1905"
        assert exif.get(274, 1) == 1
        assert exif.get_ifd(ExifTags.IFD.Exif)[0x9003] == "1905:07:04 12:00:00"
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        assert not exif.get_ifd(ExifTags.IFD.IFD1)
        assert b"Box 7, Gl" in image.info["xmp"]
    if output_format in ("png", "jpeg", "tiff"):
        image.load()
        assert tuple(round(float(number)) for number in image.info["dpi"]) == (300, 150)


def test_tifffile_finds_what_was_written():
    source = made.jpeg((0xE1, PREFIXED), (0xED, WRAPPED_IPTC))
    _, written, _ = passed_on(source, "jpeg", "tiff")
    with tifffile.TiffFile(io.BytesIO(written)) as file:
        tags = file.pages[0].tags
        assert tags["Artist"].value == "A photographer"
        assert tags["XResolution"].value == (300, 1)
        assert tags["ExifTag"].value["DateTimeOriginal"] == "1905:07:04 12:00:00"
        assert tags["GPSTag"].value["GPSLatitudeRef"] == "N"
        assert tags["IPTCNAA"].value == IPTC


@pytest.mark.parametrize("output_format", WRITTEN)
def test_what_is_too_large_for_a_segment_of_jpeg_is_kept_elsewhere_and_there_in_several(output_format):
    long = "word " * 30_000
    given = Metadata(text=(TextEntry("Description", long), TextEntry("Workflow", long)), xmp=made.XMP)
    said, lost = for_format(given, output_format, (12, 10))
    back = read(write(said, output_format))
    assert len(lost) == (output_format == "jpeg")  # whose EXIF is too small for the description
    if output_format == "png":
        assert back.text == given.text
    else:
        assert Packet(back.xmp).values("dc:description") == [long.strip()]
        assert back.xmp.decode().count("word ") >= 60_000 - 1
        assert Packet(back.xmp).values("xmp:CreatorTool") == ["A scanner"]


@pytest.mark.parametrize("output_format", WRITTEN)
def test_bytes_of_text_that_is_not_ascii_are_the_same_everywhere(output_format):
    for name in ("Gläser".encode(), "Gläser".encode("latin-1")):
        block = parse_exif(EXIF)
        block.image[315] = Tag(2, len(name) + 1, name + b"\0")
        source = made.jpeg((0xE1, b"Exif\0\0" + block.pack()))
        back, *_ = passed_on(source, "jpeg", output_format)
        assert parse_exif(back.exif).image[315].value == name + b"\0"


@pytest.mark.parametrize("output_format", WRITTEN)
def test_provenance_is_in_every_format(output_format):
    made_by = Provenance("chromagan 0.2.0", "lite", "ab" * 32, "depth 8", "scan.tif", "cd" * 32)
    found = add_provenance(read(SOURCES["xmp"]["tiff"]()), made_by)
    back = read(write(for_format(found, output_format, (12, 10))[0], output_format))
    packet = Packet(back.xmp)
    assert packet.values("Iptc4xmpExt:DigitalSourceType") == [SOURCE_TYPE]
    assert packet.values("chromagan:OriginalSHA256") == ["cd" * 32]
    assert packet.values("dc:source") == ["Box 7, Gläser"]
    ElementTree.fromstring(back.xmp)


# ----- files of others


@pytest.mark.parametrize("output_format", WRITTEN)
@pytest.mark.parametrize("name", ["dpi300.tif", "dpi300.jpg", "dpi300.png"])
def test_cases_of_resolution(data_root, name, output_format):
    back, *_ = passed_on((data_root / "cases" / name).read_bytes(), "", output_format)
    assert back.resolution == Resolution(Fraction(300), Fraction(300), "inch")


@pytest.mark.parametrize("output_format", WRITTEN)
def test_case_of_pixels_that_are_not_square(data_root, output_format):
    back, *_ = passed_on((data_root / "cases" / "g4.tif").read_bytes(), "", output_format)
    assert back.resolution == Resolution(Fraction(204), Fraction(98), "inch")


@pytest.mark.parametrize("output_format", WRITTEN)
@pytest.mark.parametrize("name", ["exif.jpg", "exif.tif"])
def test_cases_of_exif(data_root, name, output_format):
    back, *_ = passed_on((data_root / "cases" / name).read_bytes(), "", output_format)
    block = parse_exif(back.exif)
    texts = {number: tag_text(block.image[number]) for number in (270, 315, 33432, 0x9003)}
    assert texts == {
        270: "Main street, 1905",
        315: "A photographer",
        33432: "Public domain",
        0x9003: "1905:07:04 12:00:00",
    }
    assert tag_text(block.exif[0x9003]) == "1905:07:04 12:00:00"


@pytest.mark.parametrize("output_format", WRITTEN)
@pytest.mark.parametrize("name", ["xmp.jpg", "text.png"])
def test_cases_of_xmp(data_root, name, output_format):
    back, *_ = passed_on((data_root / "cases" / name).read_bytes(), "", output_format)
    assert back.xmp.startswith((b"<x:xmpmeta", b"<?xpacket"))
    if name == "text.png":
        texts = [entry.text for entry in back.text] or Packet(back.xmp).values("dc:description")
        assert texts == ["Main street"]
