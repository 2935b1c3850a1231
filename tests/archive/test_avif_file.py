"""AVIF: metadata, colors, and frames with their times."""

import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from written_pages import XMP, everything, random_page

from modeling_chromagan.archive.pages import ColoredPage
from modeling_chromagan.archive.writing import encode_pages, write_pages


@pytest.mark.parametrize("layout", ["single", "frames"])
def test_metadata_are_read_back(layout):
    pages = [random_page(metadata=everything(), duration=Fraction(40)), random_page(seed=1, duration=Fraction(40))]
    data = encode_pages(pages, output_format="avif", layout=layout, profile=b"")
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[270] == "A view"
        assert image.getexif().get_ifd(34665)[36867] == "1936:01:02 03:04:05"
        assert image.getexif().get_ifd(34853)[2] == (52.0, 30.0, 1.5)
        assert image.info["xmp"] == XMP
        assert image.n_frames == (1 if layout == "single" else 2)


def test_colors_have_full_resolution_and_are_close():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, ::2, 0] = pixels[:, 1::2, 2] = 200  # subsampled by two, all columns would be purple
    data = encode_pages([ColoredPage(pixels)], output_format="avif", layout="single", profile=b"")
    with Image.open(io.BytesIO(data)) as image:
        assert np.abs(np.asarray(image).astype(int) - pixels).max() < 20


def test_frames_come_back_with_their_times(tmp_path):
    flat = [np.full((8, 8, 3), value, np.uint8) for value in (10, 200, 90)]
    pages = [ColoredPage(pixels, duration=Fraction(time)) for pixels, time in zip(flat, (30, 1000, 70), strict=True)]
    written = write_pages(pages, tmp_path / "a", output_format="avif", layout="frames", profile=b"", loops=3)
    assert written.notes == ("AVIF is written to repeat for ever",)
    with Image.open(tmp_path / "a") as image:
        found = []
        for number, pixels in enumerate(flat):
            image.seek(number)
            assert np.abs(np.asarray(image).astype(int) - pixels).max() <= 3
            found.append(image.info["duration"])
    assert found == [30, 1000, 70]
