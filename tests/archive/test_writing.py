"""Every format at every depth: what was given is read back, whole or not there, in bytes that never differ."""

import hashlib
import io
from fractions import Fraction

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from written_pages import everything, exif_block, random_page

from modeling_chromagan.archive import writing
from modeling_chromagan.archive.metadata import Metadata
from modeling_chromagan.archive.pages import ColoredPage
from modeling_chromagan.archive.writing import FORMATS_OF_LAYOUT, WRITERS, encode_pages, write_pages
from modeling_chromagan.errors import ImageLoadError, SettingError
from modeling_chromagan.image_saving import ImageSaveError, srgb_profile
from modeling_chromagan.picture_formats import OUTPUT_FORMATS

SINGLE = {"layout": "single", "profile": b""}
# Independent of what Pillow makes of 16 bits.
DECODERS = {
    "png": imagecodecs.png_decode,
    "jpeg": imagecodecs.jpeg8_decode,
    "webp": imagecodecs.webp_decode,
    "tiff": lambda data: tifffile.imread(io.BytesIO(data)),
    "avif": imagecodecs.avif_decode,
    "jp2": imagecodecs.jpeg2k_decode,
}
LOSSLESS = ("png", "webp", "tiff", "jp2")
DEEP = ("png", "tiff", "jp2")


def test_every_output_format_has_a_writer_and_a_layout():
    assert set(WRITERS) == set(OUTPUT_FORMATS) == set(DECODERS) == set(FORMATS_OF_LAYOUT["single"])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("output_format", WRITERS)
def test_pixels_come_back(tmp_path, output_format, dtype, channels):
    page = random_page((23, 41, channels), dtype)
    written = write_pages([page], tmp_path / "a", output_format=output_format, **SINGLE)
    found = DECODERS[output_format]((tmp_path / "a").read_bytes())
    expected = page.pixels if output_format != "jpeg" else page.pixels[..., :3]
    if dtype == np.uint16 and output_format not in DEEP:
        expected = np.rint(expected / 257).astype(np.uint8)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    tolerance = 0 if output_format in LOSSLESS else 25
    assert np.abs(found.astype(int) - expected).max() <= tolerance
    notes = " ".join(written.notes)
    assert ("16 bits are rounded" in notes) == (dtype == np.uint16 and output_format not in DEEP)
    assert ("alpha" in notes) == (channels == 4 and output_format == "jpeg")


@pytest.mark.parametrize("output_format", WRITERS)
def test_a_file_is_what_its_hash_and_size_say_and_always_the_same(tmp_path, output_format):
    page = random_page((23, 41, 4), np.uint16, metadata=everything())
    written = write_pages([page], tmp_path / "a", output_format=output_format, **SINGLE)
    data = (tmp_path / "a").read_bytes()
    assert (written.sha256, written.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert encode_pages([page], output_format=output_format, **SINGLE) == data
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("profile", [b"", b"given"])
@pytest.mark.parametrize("output_format", WRITERS)
def test_the_profile_is_embedded(output_format, profile):
    if profile:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    data = encode_pages([random_page()], output_format=output_format, layout="single", profile=profile)
    if output_format == "png" and not profile:
        assert b"sRGB\0" in data[:60]
    elif output_format == "jp2":  # Pillow does not read it; 16 means sRGB
        assert (b"colr\2\0\0" + profile if profile else b"colr\1\0\0\0\0\0\x10") in data
    else:
        with Image.open(io.BytesIO(data)) as image:
            assert image.info["icc_profile"] == (profile or srgb_profile())


@pytest.mark.parametrize("output_format", WRITERS)
def test_the_smallest_picture_can_be_written(output_format):
    data = encode_pages([random_page((1, 1, 3))], output_format=output_format, **SINGLE)
    assert DECODERS[output_format](data).shape == (1, 1, 3)


def test_what_a_container_has_no_place_for_is_named():
    fields = {"resolution", "exif", "iptc", "xmp", "text", "comments"}
    kept = {
        "png": {"resolution", "exif", "xmp", "text"},
        "jpeg": fields - {"text"},
        "webp": {"exif", "xmp"},
        "tiff": {"resolution", "exif", "iptc", "xmp"},
        "avif": {"exif", "xmp"},
        "jp2": {"resolution", "exif", "iptc", "xmp"},
    }
    for output_format, names in kept.items():
        notes = WRITERS[output_format](
            iter([random_page(metadata=everything())]), io.BytesIO(), writing.FileSettings("single")
        )
        left_out = {name for name in fields for note in notes if f"no place for {name}" in note}
        assert left_out == fields - names, output_format


@pytest.mark.parametrize("block", [b"nonsense", b"II*\0\xff\xff\0\0", exif_block()[:-20], b"II*\0\x08\0\0\0\x01\0"])
@pytest.mark.parametrize("output_format", WRITERS)
def test_a_damaged_exif_block_is_no_reason_to_write_nothing(tmp_path, output_format, block):
    page = random_page(metadata=Metadata(exif=block))
    written = write_pages([page], tmp_path / "a", output_format=output_format, **SINGLE)
    with Image.open(tmp_path / "a") as image:
        image.load()
        assert image.getexif().get_ifd(34853).get(2) is None  # of the third, the rest is there
    assert written.notes == ("its EXIF is damaged: what cannot be read is left out",)


@pytest.mark.parametrize("layout", ["pages", "frames"])
@pytest.mark.parametrize("output_format", WRITERS)
def test_several_pictures_are_refused_where_they_have_no_place(tmp_path, output_format, layout):
    if output_format in FORMATS_OF_LAYOUT[layout]:
        return
    with pytest.raises(SettingError, match=f"{output_format} does not hold several {layout}; accepted: (tiff|png), ?"):
        write_pages([random_page()], tmp_path / "a", output_format=output_format, layout=layout, profile=b"")
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_are_refused_in_one_line(tmp_path):
    with pytest.raises(SettingError, match="cannot write bmp; accepted: png, jpeg"):
        write_pages([random_page()], tmp_path / "a", output_format="bmp", **SINGLE)
    with pytest.raises(SettingError, match="by zip; accepted: lzw, deflate, none"):
        write_pages([random_page()], tmp_path / "a", output_format="tiff", compression="zip", **SINGLE)


def test_sizes_that_a_format_cannot_hold_are_refused_before_it_is_begun(tmp_path):
    wide = ColoredPage(np.broadcast_to(np.zeros(3, np.uint8), (1, 70_000, 3)))
    for output_format, limit in (("webp", 16383), ("jpeg", 65500), ("avif", 32768)):
        with pytest.raises(ImageSaveError, match=f"a: the picture has 70000 x 1 pixels, .* at most {limit} a side"):
            write_pages([wide], tmp_path / "a", output_format=output_format, **SINGLE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("output_format", "limit"), [("webp", 16383), ("jpeg", 65500), ("avif", 32768)])
def test_pictures_as_wide_as_a_format_can_hold_can_be_read(tmp_path, output_format, limit):
    wide = ColoredPage(np.broadcast_to(np.zeros(3, np.uint8), (1, limit, 3)))
    write_pages([wide], tmp_path / "a", output_format=output_format, **SINGLE)
    with Image.open(tmp_path / "a") as picture:
        picture.load()
    assert picture.size == (limit, 1)


@pytest.mark.parametrize("output_format", ["png", "webp", "avif"])
def test_frames_of_different_sizes_are_refused(tmp_path, output_format):
    pages = [random_page((9, 8, 3), duration=Fraction(20)), random_page((8, 9, 3), duration=Fraction(20))]
    with pytest.raises(ImageSaveError, match=r"a: cannot be written: a frame has "):
        write_pages(pages, tmp_path / "a", output_format=output_format, layout="frames", profile=b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [ImageLoadError("page 2", "cut off"), OSError(5, "of reading"), RuntimeError("x")])
def test_errors_of_whoever_makes_the_pages_stay_theirs(tmp_path, failure):
    def pages():
        yield random_page()
        raise failure

    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(type(failure)) as caught:
        write_pages(pages(), tmp_path / "a", output_format="tiff", layout="pages", profile=b"")
    assert caught.value is failure
    assert (tmp_path / "a").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
