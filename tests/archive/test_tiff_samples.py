"""TIFF pages that Pillow cannot open, or not at their depth."""

import io

import numpy as np
import pytest
import tifffile
from encoded_pictures import adobe_rgb, random_gray, tiff
from tiff_files import tiff_file

from modeling_chromagan.archive.pages import Page
from modeling_chromagan.archive.scan import open_scan
from modeling_chromagan.errors import ImageLoadError

GRAY = random_gray(np.uint16)
RGB = np.dstack([random_gray(np.uint16, seed) for seed in range(3)])


def page_of(content: bytes) -> Page:
    with open_scan(content, name="the name", max_pixels=10**6) as scan:
        (page,) = scan.pages()
    return page


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd", "jpeg2000"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_gray_stored_as_48_bit_color_keeps_its_values(compression, planes):
    pixels = np.stack([GRAY] * 3, axis=-1 if planes == "contig" else 0)
    content = tiff_file((pixels, {"photometric": "rgb", "planarconfig": planes, "compression": compression}))
    page = page_of(content)
    np.testing.assert_array_equal(page.image.gray, GRAY)
    assert (page.depth, page.image.was_color, page.colors, page.image.notes) == (16, False, None, ())


def test_gray_with_opacity_of_16_bits():
    content = tiff_file((np.dstack([GRAY, GRAY[::-1]]), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}))
    page = page_of(content)
    np.testing.assert_array_equal(page.image.gray, GRAY)
    np.testing.assert_array_equal(page.image.alpha, GRAY[::-1])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("kinds", [None, (2,), (0,), (2, 0)])
def test_channels_that_are_no_opacity_are_left_out_and_said(kind, kinds):
    """Where a file does not say what the fourth channel is, it is opacity, as other programs take it."""
    channels = [GRAY.astype(kind)] * 3 + [GRAY[::-1].astype(kind)] * len(kinds or (2,))
    said = {} if kinds is None else {"extra": kinds}
    page = page_of(tiff(np.dstack(channels), (8 * kind().itemsize,) * len(channels), 2, **said))
    if kinds == (0,):
        assert page.image.alpha is None
    else:
        np.testing.assert_array_equal(page.image.alpha, channels[3])
    assert ["infrared" in note for note in page.metadata.notes] == ([True] if 0 in (kinds or ()) else [])


@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_opacity_in_a_plane_of_its_own(colors, kind):
    planes = np.stack([(GRAY >> 8).astype(np.uint8)] * colors + [np.full_like(GRAY, 255, np.uint8)])
    photometric = {1: "minisblack", 3: "rgb"}[colors]
    page = page_of(
        tiff_file((planes, {"photometric": photometric, "planarconfig": "separate", "extrasamples": [kind]}))
    )
    np.testing.assert_array_equal(page.image.gray, planes[0])
    np.testing.assert_array_equal(page.image.alpha, planes[-1])
    assert (page.depth, page.image.alpha.dtype) == (8, np.uint8)


def test_white_is_zero():
    content = tiff_file((GRAY, {"photometric": "miniswhite", "compression": "zstd"}))
    np.testing.assert_array_equal(page_of(content).image.gray, 65535 - GRAY)
    pair = np.dstack([GRAY, GRAY])
    content = tiff_file((pair, {"photometric": "miniswhite", "extrasamples": ["unassalpha"]}))
    np.testing.assert_array_equal(page_of(content).image.gray, 65535 - GRAY)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_floats_of_any_size(kind):
    unit = (GRAY / 65535).astype(kind)
    page = page_of(tiff_file((unit, {})))
    np.testing.assert_array_equal(page.image.gray, unit.astype(np.float32))
    assert page.depth == 16


def test_float_colors():
    unit = (np.dstack([GRAY] * 3) / 65535).astype(np.float32)
    np.testing.assert_array_equal(page_of(tiff_file((unit, {}))).image.gray, GRAY)
    with pytest.raises(ImageLoadError, match="the name: float values"):
        page_of(tiff_file((unit * 3, {})))


def test_a_profile_and_an_orientation_are_applied():
    plain = page_of(tiff_file((RGB, {}))).image.gray
    turned = page_of(tiff_file((RGB, {"extratags": [(274, 3, 1, 6, True)]}))).image.gray
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))
    converted = page_of(tiff_file((RGB, {"iccprofile": adobe_rgb()}))).image.gray
    assert 100 < np.abs(converted.astype(int) - plain).max() < 20_000


def test_missing_strips_are_not_filled_with_black():
    content = tiff_file((RGB, {"rowsperstrip": 4}))
    with pytest.raises(ImageLoadError, match="the name: damaged or truncated"):
        page_of(content[:-20])
    with pytest.raises(ImageLoadError, match="the name: damaged or truncated"):
        page_of(tiff_file((RGB, {"rowsperstrip": 4, "compression": "lzw"}))[:-20])


def test_a_strip_of_no_bytes_is_not_filled_with_black():
    content = tiff_file((RGB, {"rowsperstrip": 4}))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        third = file.pages[0].tags["StripByteCounts"].valueoffset + 2 * 2  # of 16 bits each
    page = page_of(content[:third] + bytes(2) + content[third + 2 :])
    assert np.abs(page.image.gray.astype(int) - page_of(content).image.gray).max() < 400  # Pillow finds it, in 8 bits
    assert "read as 8" in page.image.notes[0]


def test_other_kinds_are_named():
    with pytest.raises(ImageLoadError, match="the name: colors of uint32 cannot be read; accepted"):
        page_of(tiff_file((RGB.astype(np.uint32), {})))


def test_deep_planes_that_pillow_reads_as_noise_are_read():
    page = page_of(tiff(np.stack([GRAY] * 3), (16, 16, 16), 2, planar=2))
    np.testing.assert_array_equal(page.image.gray, GRAY)
