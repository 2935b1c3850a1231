"""WebP: metadata, and frames with their times."""

import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from written_pages import XMP, everything, random_page

from modeling_chromagan.archive.writing import encode_pages


@pytest.mark.parametrize("layout", ["single", "frames"])
def test_metadata_are_read_back(layout):
    pages = [random_page(metadata=everything(), duration=Fraction(40)), random_page(seed=1, duration=Fraction(40))]
    data = encode_pages(pages, output_format="webp", layout=layout, profile=b"")
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[270] == "A view"
        assert image.getexif().get_ifd(34853)[2] == (52.0, 30.0, 1.5)
        assert image.info["xmp"] == XMP
        assert image.n_frames == (1 if layout == "single" else 2)


@pytest.mark.parametrize("channels", [3, 4])
def test_frames_come_back_with_their_times(channels):
    durations = [Fraction(30), Fraction(100, 3), Fraction(1000), Fraction(70)]
    pages = [random_page((9, 13, channels), seed=seed, duration=time) for seed, time in enumerate(durations)]
    for page in pages:
        page.pixels[..., 3:] |= 1  # the colors of what is not seen at all are not kept
    data = encode_pages(pages, output_format="webp", layout="frames", profile=b"", loops=3)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.n_frames, image.info["loop"]) == (4, 3)
        found = []
        for number, page in enumerate(pages):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image), page.pixels)
            found.append(image.info["duration"])
    assert found == [30, 33, 1000, 70]


def test_pixels_that_are_not_seen_keep_their_colors_in_a_still_picture():
    page = random_page((9, 13, 4))
    page.pixels[:5, :, 3] = 0
    with Image.open(io.BytesIO(encode_pages([page], output_format="webp", layout="single", profile=b""))) as image:
        np.testing.assert_array_equal(np.asarray(image), page.pixels)
