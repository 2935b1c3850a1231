"""Pages, tags and EXIF folders of a TIFF."""

import io
import struct
from fractions import Fraction

import numpy as np
import pytest
import tifffile
from PIL import Image, IptcImagePlugin
from written_pages import IPTC, XMP, everything, exif_block, random_page

from modeling_chromagan.archive import tiff_file
from modeling_chromagan.archive.exif_block import ExifBlock, Tag
from modeling_chromagan.archive.metadata import Metadata, Resolution
from modeling_chromagan.archive.writing import encode_pages, write_pages
from modeling_chromagan.image_saving import ImageSaveError


def encode(*pages, layout: str = "single", **settings) -> bytes:
    return encode_pages(pages, output_format="tiff", layout=layout, profile=b"", **settings)


@pytest.fixture(params=["classic", "big"])
def size(request, monkeypatch):
    """Files that count as small, and as beyond 4 GB."""
    if request.param == "big":
        monkeypatch.setattr(tiff_file, "CLASSIC_LIMIT", 0)
    return request.param


@pytest.mark.parametrize("compression", ["lzw", "deflate", "none"])
def test_pages_keep_size_depth_channels_and_metadata(size, compression):
    pages = [
        random_page((9, 11, 3), np.uint8, metadata=everything()),
        random_page((7, 12, 4), np.uint16, metadata=Metadata(exif=exif_block("MM"))),
        random_page((8, 10, 3), np.uint16, metadata=everything()),
    ]
    data = encode(*pages, layout="pages", compression=compression)
    codes = {"lzw": 5, "deflate": 8, "none": 1}
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.is_bigtiff == (size == "big")
        for page, found in zip(pages, file.pages, strict=True):
            np.testing.assert_array_equal(found.asarray(), page.pixels)
            assert found.compression == codes[compression]
            assert found.subfiletype == 2
            exif = found.tags["ExifTag"].value
            assert (exif["DateTimeOriginal"], exif["ExposureTime"]) == ("1936:01:02 03:04:05", (1, 125))
    with Image.open(io.BytesIO(data)) as image:
        for number, page in enumerate(pages):
            image.seek(number)
            image.load()
            assert image.size == page.pixels.shape[1::-1]
            exif = image.getexif()
            assert (exif[270], exif[315]) == ("A view", "Somebody")
            assert exif.get_ifd(34665)[37510] == b"ASCII\0\0\0note"
            assert exif.get_ifd(34853) == {0: b"\2\3\0\0", 1: "N", 2: (52.0, 30.0, 1.5)}


def test_what_a_scan_says_is_in_the_tags_that_readers_look_at():
    with Image.open(io.BytesIO(encode(random_page(metadata=everything())))) as image:
        image.load()
        assert image.info["dpi"] == (300, 600)
        assert image.info["xmp"] == XMP
        assert IptcImagePlugin.getiptcinfo(image) == {(2, 5): IPTC[5:]}
        assert not {305, 306} & set(image.tag_v2)  # no software and no time but those of the original
    with tifffile.TiffFile(io.BytesIO(encode(random_page((3, 3, 4))))) as file:
        assert file.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
        assert file.pages[0].subfiletype == 0


@pytest.mark.parametrize(
    ("resolution", "unit", "numbers"),
    [
        (Resolution(Fraction(118), Fraction(236, 3), "centimeter"), 3, [(118, 1), (236, 3)]),
        (Resolution(Fraction(3, 2), Fraction(1), "none"), 1, [(3, 2), (1, 1)]),
        (
            Resolution(Fraction(300) + Fraction(1, 2**40), Fraction(10**10 + 1, 3 * 10**10), "inch"),
            2,
            [(300, 1), (1, 3)],
        ),
    ],
)
def test_resolution_is_exact_and_has_its_unit(resolution, unit, numbers):
    with tifffile.TiffFile(io.BytesIO(encode(random_page(metadata=Metadata(resolution=resolution))))) as file:
        tags = file.pages[0].tags
        assert tags["ResolutionUnit"].value == unit
        assert [tags["XResolution"].value, tags["YResolution"].value] == numbers


def test_tags_about_other_pixels_are_not_taken_over(caplog):
    exif = Image.Exif()
    exif.update({256: 9999, 259: 7, 262: 6, 273: 8, 282: 72.0, 317: 1, 320: 5, 34675: b"profile", 315: "Somebody"})
    exif.update({513: 8, 514: 4, 531: 1, 297: (2, 9)})
    page = random_page(metadata=Metadata(exif=exif.tobytes().removeprefix(b"Exif\0\0")))
    with Image.open(io.BytesIO(encode(page))) as image:
        np.testing.assert_array_equal(np.asarray(image), page.pixels)
        assert (image.getexif()[315], image.getexif()[297]) == ("Somebody", (2, 9))
        assert not {320, 513, 514, 531} & set(image.tag_v2)
    assert caplog.records == []  # tifffile would name those that it leaves out itself


@pytest.mark.parametrize("order", ["<", ">"])
def test_fractions_are_as_many_as_they_were(size, order):
    block = ExifBlock(order)
    block.image[286] = block.rational(Fraction(7, 2))
    block.image[37380] = Tag(10, 1, struct.pack(f"{order}2i", -1, 3))
    block.image[50714] = Tag(5, 2, struct.pack(f"{order}4I", 1, 3, 2, 7))
    with tifffile.TiffFile(io.BytesIO(encode(random_page(metadata=Metadata(exif=block.pack()))))) as file:
        tags = file.pages[0].tags
        found = [(tags[number].count, tags[number].value) for number in (286, 37380, 50714)]
    assert found == [(1, (7, 2)), (1, (-1, 3)), (2, (1, 3, 2, 7))]


@pytest.mark.parametrize("big", [False, True])
def test_values_in_folders_begin_at_even_offsets(big):
    file = io.BytesIO(b"123")
    folder = {number: Tag(2, 11, b"x" * 10 + b"\0") for number in (42033, 42036, 42037)}
    file.seek(0, io.SEEK_END)
    (start,) = struct.unpack("<Q" if big else "<I", tiff_file._write_folder(file, folder, big))
    entry, last = ("<HHQQ", "<Q") if big else ("<HHII", "<I")
    data, first = file.getvalue(), start + (8 if big else 2)
    offsets = [struct.unpack_from(entry, data, first + number * struct.calcsize(entry))[3] for number in range(3)]
    assert [offset % 2 for offset in (start, *offsets)] == [0] * 4
    assert [data[offset : offset + 11] for offset in offsets] == [b"x" * 10 + b"\0"] * 3
    assert struct.unpack_from(last, data, first + 3 * struct.calcsize(entry)) == (0,)  # no further folder


@pytest.mark.parametrize("compression", ["lzw", "none"])
def test_large_pictures_are_stored_in_strips(compression):
    page = random_page((700, 500, 3))
    with tifffile.TiffFile(io.BytesIO(encode(page, compression=compression))) as file:
        assert file.pages[0].rowsperstrip == 174
        assert len(file.pages[0].dataoffsets) == 5
        np.testing.assert_array_equal(file.pages[0].asarray(), page.pixels)


def test_size_decides_between_tiff_and_bigtiff():
    def is_big(**settings) -> bool:
        return encode(random_page(), **settings)[2] == 43

    assert not is_big()
    assert is_big(size=4_300_000_000, compression="none")
    assert not is_big(size=3_000_000_000, compression="none")
    assert is_big(size=3_000_000_000)  # noise grows by LZW


def test_pages_that_grow_beyond_4_gb_unannounced_are_an_error(tmp_path, monkeypatch):
    write = tifffile.TiffWriter.write

    def write_far_out(self, *arguments, **settings):
        self.filehandle.seek(2**32)
        return write(self, *arguments, **settings)

    monkeypatch.setattr(tifffile.TiffWriter, "write", write_far_out)
    with pytest.raises(ImageSaveError, match="a: cannot be written: its pages take more than 4 GB"):
        write_pages([random_page()], tmp_path / "a", output_format="tiff", layout="pages", profile=b"")
    assert list(tmp_path.iterdir()) == []
