"""The loader: every kind of source gives the same, and every kind of damage is one line."""

import io
import os

import numpy as np
import pytest
from encoded_pictures import (
    SHAPE,
    assert_is,
    encoded,
    kinds_of_files,
    png,
    random_gray,
    random_rgb,
    reason_of,
    tiff,
)
from PIL import Image, ImageFile, features
from tiff_files import tiff_file

from modeling_chromagan import LoadedImage
from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.image_loading import PLUGGED_IN, load_color, load_image

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow cannot write AVIF")


# ----- orientation


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_there_is_not_leaves_the_picture_as_stored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    gray = random_gray()
    assert_is(load_image(encoded(gray, "PNG", exif=exif)), gray)
    np.testing.assert_array_equal(np.asarray(load_color(encoded(gray, "PNG", exif=exif)))[..., 0], gray)


@pytest.mark.parametrize(("kind", "value"), [(2, "<x:xmpmeta/>"), (3, (1, 2, 3))])
def test_xmp_of_a_wrong_type_does_not_fail_a_tiff(kind, value):
    gray, tag = random_gray(), (700, kind, len(value), value, True)
    assert_is(load_image(tiff_file((gray, {"extratags": [tag]}))), gray)


def test_unreadable_exif_is_a_note():
    gray = random_gray()
    loaded = load_image(encoded(gray, "PNG", exif=b"Exif\0\0not a TIFF header"))
    np.testing.assert_array_equal(loaded.gray, gray)
    assert loaded.notes


# ----- several pictures in a file


@pytest.mark.parametrize("file_format", ["TIFF", "GIF", "PNG", "WEBP", "MPO", pytest.param("AVIF", marks=needs_avif)])
def test_first_frame_and_a_note(file_format):
    first, second = (Image.fromarray(np.full((*SHAPE, 3), value, np.uint8)) for value in (80, 200))
    loaded = load_image(encoded(first, file_format, save_all=True, append_images=[second]))
    assert np.abs(loaded.gray.astype(int) - 80).max() <= 2
    assert loaded.format == file_format
    assert [note for note in loaded.notes if "only the first is read" in note]
    assert load_image(encoded(first, "JPEG" if file_format == "MPO" else file_format)).notes == ()


def test_an_opened_file_is_taken_at_its_current_frame():
    frames = [Image.fromarray(np.full(SHAPE, value, np.uint8)) for value in (80, 200)]
    with Image.open(io.BytesIO(encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]))) as opened:
        opened.seek(1)
        loaded = load_image(opened)
    assert (loaded.gray == 200).all()
    assert "only number 2 is read" in loaded.notes[0]


# ----- what can be given


def test_every_kind_of_source_gives_the_same(tmp_path):
    gray = random_gray()
    content = encoded(gray, "PNG")
    path = tmp_path / "ünusual name.png"
    path.write_bytes(content)
    for source in (path, str(path), content, bytearray(content), Image.open(path), Image.fromarray(gray), gray):
        assert_is(load_image(source), gray)
    assert load_image(path, name="shown").name == "shown"
    assert load_image(Image.open(path)).name == str(path)
    assert (load_image(Image.fromarray(gray)).format, load_image(gray).format) == ("PIL", "array")


def test_the_suffix_does_not_matter(tmp_path):
    gray = random_gray()
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(gray, "TIFF"))
    loaded = load_image(path)
    assert_is(loaded, gray)
    assert loaded.format == "TIFF"


def test_other_sources_and_settings_are_refused():
    with pytest.raises(TypeError, match="NoneType; accepted are a path"):
        load_image(None)
    for max_pixels in (0, -1, 1e6, "many", None):
        with pytest.raises(ValueError, match="max_pixels must be"):
            load_image(random_gray(), max_pixels=max_pixels)


# ----- what cannot be read


def test_files_that_are_no_pictures(tmp_path, monkeypatch):
    monkeypatch.delitem(Image.OPEN, PLUGGED_IN, raising=False)
    assert reason_of(tmp_path / "missing.png") == "no such file or directory"
    assert "folder" in reason_of(tmp_path)
    assert "null" in reason_of("a\0b.png")
    assert "URL" in reason_of("https://example.org/a.jpg")
    path = tmp_path / "a.jpg"
    for content, found in (
        (b"", "the file is empty"),
        (b"Dear diary, no picture today.", "not a picture; accepted are JPEG"),
        (b"%PDF-1.7 ...............", "a PDF document; accepted are JPEG"),
        (b"\0\0\0\x18ftypheic........", 'a HEIC picture, which needs: pip install "chromagan[heic]"'),
        (b"\0\0\0\x18ftypmif1........", "a HEIC picture, which needs"),
        (b"\0\0\0\x0cJXL \r\n\x87\n....", "a JPEG XL picture"),
        (b"FUJIFILMCCD-RAW 0201FF", "develop it to TIFF"),
        (b"\0\0\0\x18ftypcrx ........", "develop it to TIFF"),
        (encoded(random_gray(), "PPM"), "accepted are JPEG"),  # Pillow could, but is not allowed to
        (tiff(random_gray(np.uint16), 16, sample_format=3), "TIFF file (unknown pixel mode)"),
    ):
        path.write_bytes(content)
        assert found in reason_of(path)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in reason_of(tmp_path / "pipe.png")


def test_a_jpeg_need_not_be_decoded_whole():
    picture = Image.fromarray(random_rgb()).resize((400, 300), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    for file_format in ("JPEG", "MPO"):
        content = encoded(picture, file_format, exif=exif, quality=95)
        sizes = {side: load_color(content, short_side=side).size for side in (None, 301, 150, 149, 75, 10)}
        whole, half, quarter = (300, 400), (150, 200), (75, 100)
        assert sizes == {None: whole, 301: whole, 150: half, 149: half, 75: quarter, 10: (38, 50)}
        small = np.asarray(load_color(content, short_side=150)).astype(int)
        expected = np.asarray(load_color(content).resize((150, 200), Image.Resampling.BOX)).astype(int)
        assert np.abs(small - expected).mean() < 2
    assert load_color(encoded(picture, "PNG"), short_side=10).size == (400, 300)


def test_colors_of_what_is_no_picture_are_one_line(tmp_path):
    with pytest.raises(ImageLoadError, match=r"^<bytes>: not a picture; accepted are JPEG"):
        load_color(b"no picture at all")
    with pytest.raises(ImageLoadError, match="no such file"):
        load_color(tmp_path / "none.png")
    with pytest.raises(ImageLoadError, match="more than max_pixels = 10"):
        load_color(encoded(random_rgb(), "PNG"), max_pixels=10)


def picture_or_error(content: bytes, **options) -> LoadedImage | ImageLoadError:
    """Whatever comes of a damaged file, checked to be one line if it is the error."""
    try:
        return load_image(content, name="damaged", **options)
    except ImageLoadError as error:
        line = str(error)
        if not line.startswith("damaged: ") or "\n" in line:
            pytest.fail(f"not one line with the name: {line!r}")
        return error


@pytest.mark.parametrize("kind", kinds_of_files())
def test_truncated_files_are_one_error_or_complete(kind, capfd):
    """Cut anywhere: either an ImageLoadError, or (only trailing data is missing) every pixel of the whole file."""
    content = kinds_of_files()[kind]
    whole = load_image(content)
    refused, lengths = 0, [*range(64), *range(64, len(content), 7)]
    for length in lengths:
        loaded = picture_or_error(content[:length])
        if isinstance(loaded, ImageLoadError):
            refused += 1
        else:
            np.testing.assert_array_equal(loaded.gray, whole.gray)
    assert refused > len(lengths) * 0.4
    assert capfd.readouterr() == ("", "")  # libtiff would print


@pytest.mark.parametrize("kind", kinds_of_files())
def test_damaged_bytes_raise_nothing_else(kind, capfd):
    content, random = kinds_of_files()[kind], np.random.default_rng(4)
    for _ in range(60):
        damaged = bytearray(content)
        for position in random.integers(0, min(len(content), random.choice([60, 300, 10_000])), 2):
            damaged[position] = random.integers(0, 256)
        loaded = picture_or_error(bytes(damaged), max_pixels=1_000_000)
        assert isinstance(loaded, ImageLoadError) or loaded.gray.dtype in (np.uint8, np.uint16, np.float32)
    assert capfd.readouterr() == ("", "")


def test_out_of_memory_is_the_same_error(monkeypatch):
    def no_memory(*arguments):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", no_memory)
    assert reason_of(encoded(random_gray(), "PNG")) == "not enough memory for a picture of this size"


# ----- limits


def test_huge_headers_are_refused_before_decoding():
    for size, found in (
        ((100_000, 100_000), "10,000,000,000 pixels"),
        ((20_000, 10_001), "20000 x 10001 = 200,020,000 pixels"),
    ):
        assert reason_of(png(b"", *size, 8, 0)) == f"{found} are more than max_pixels = 200,000,000"


def test_max_pixels_is_the_last_size_accepted(tmp_path):
    gray = random_gray()
    for source in (encoded(gray, "PNG"), encoded(gray, "TIFF"), gray, Image.fromarray(gray)):
        assert load_image(source, max_pixels=gray.size).gray.size == gray.size
        for limit in (gray.size - 1, gray.size // 3):  # Pillow warns below twice its limit and raises above
            assert f"more than max_pixels = {limit}" in reason_of(source, max_pixels=limit)
