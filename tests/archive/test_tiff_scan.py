"""TIFF files: their pages, each read by its own directory."""

import io

import numpy as np
import pytest
from encoded_pictures import adobe_rgb, random_gray, tiff
from PIL import Image
from tiff_files import photograph, tiff_file

from modeling_chromagan.archive.metadata import Resolution
from modeling_chromagan.archive.scan import open_scan
from modeling_chromagan.archive.tiff_scan import _FirstDirectory
from modeling_chromagan.errors import ImageLoadError

FIRST, SECOND = photograph(1), photograph(2)


def test_each_page_has_its_own_orientation_profile_and_depth(tmp_path):
    deep = random_gray(np.uint16)
    content = tiff_file(
        (FIRST, {"extratags": [(274, 3, 1, 6, True)]}),
        (np.dstack([SECOND] * 3), {"iccprofile": adobe_rgb(), "compression": "deflate"}),
        (deep, {"compression": "lzw"}),
    )
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    for source in (content, path):
        with open_scan(source, name="the name", max_pixels=10**6) as scan:
            turned, converted, third = scan.pages()
            assert (scan.compression, scan.profile, scan.format, scan.loops) == ("none", b"", "TIFF", None)
        np.testing.assert_array_equal(turned.image.gray, np.rot90(FIRST, -1))
        assert converted.image.gray.dtype == np.uint16
        np.testing.assert_array_equal(third.image.gray, deep)
        assert [page.depth for page in (turned, converted, third)] == [8, 8, 16]


def test_pages_can_be_read_again_and_none_is_held(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_file(*((photograph(seed), {"compression": "lzw"}) for seed in range(4))))
    with open_scan(path, name="the name", max_pixels=10**6) as scan:
        next(scan.pages())
        for _ in range(2):
            for seed, page in enumerate(scan.pages()):
                np.testing.assert_array_equal(page.image.gray, photograph(seed))


@pytest.mark.parametrize(
    ("compression", "expected"), [(None, "none"), ("lzw", "lzw"), ("deflate", "deflate"), ("packbits", None)]
)
def test_compression_and_profile_are_the_first_pages(compression, expected):
    content = tiff_file((FIRST, {"compression": compression, "iccprofile": adobe_rgb()}), (SECOND, {}))
    with open_scan(content, name="the name", max_pixels=10**6) as scan:
        assert (scan.compression, scan.profile) == (expected, adobe_rgb())


def test_a_damaged_page_is_named_and_those_before_it_are_read():
    content = tiff_file((FIRST, {}), (SECOND, {"compression": "lzw"}), (FIRST, {}))
    with open_scan(content, name="the name", max_pixels=10**6) as scan:
        at = scan.tiff._tags(scan.tiff.directories[1])[273][0]
    damaged = content[:at] + b"\xff" * 60 + content[at + 60 :]
    with open_scan(damaged, name="the name", max_pixels=10**6) as scan:
        pages = scan.pages()
        np.testing.assert_array_equal(next(pages).image.gray, FIRST)
        with pytest.raises(ImageLoadError, match=r"^the name: page 2: damaged or truncated"):
            next(pages)


def test_a_page_above_the_limit_is_named():
    content = tiff_file((FIRST, {}), (photograph(3, 200, 100), {}))
    with open_scan(content, name="the name", max_pixels=FIRST.size) as scan:
        assert scan.largest == 20_000
        with pytest.raises(ImageLoadError, match=r"^the name: page 2: 200 x 100 = 20,000 pixels are more than"):
            list(scan.pages())


def test_metadata_are_those_of_the_page_also_where_pillow_cannot_open_it():
    deep = np.dstack([random_gray(np.uint16)] * 2)
    dots = {"resolution": (300, 150), "resolutionunit": "inch"}
    content = tiff_file(
        (FIRST, {"resolution": (72, 72), "resolutionunit": "inch"}),
        (deep, {"photometric": "minisblack", "extrasamples": ["unassalpha"], **dots}),
    )
    with open_scan(content, name="the name", max_pixels=10**6) as scan:
        first, second = scan.pages()
    assert first.metadata.resolution == Resolution(72, 72, "inch")
    assert second.metadata.resolution == Resolution(300, 150, "inch")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"MIB8ryaL\4\0\0\0data", True),
        (b"8BIMLr16\0\0\0\4data", True),
        (b"MIB8ryaL\0\0\0\0", False),
        (b"MIB8ttaP\4\0\0\0data", False),
    ],
)
def test_layers_that_are_left_out_are_said(data, said):
    tag = (37724, 7, 0, b"Adobe Photoshop Document Data Block\0" + data, True)
    with open_scan(tiff_file((FIRST, {"extratags": [tag]})), name="the name", max_pixels=10**6) as scan:
        (page,) = scan.pages()
    assert page.metadata.notes == ("its Photoshop layers are left out",) * said


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_first_directory_is_another_one(order):
    content = tiff(random_gray(), 8, order=order)
    stream = _FirstDirectory(io.BytesIO(content), content[:16], 0x01020304)
    pointer = (0x01020304).to_bytes(4, "little" if order == "<" else "big")
    assert stream.read(3) == content[:3]
    assert stream.read(9) == content[3:4] + pointer + content[8:12]
    stream.seek(0)
    assert stream.read() == content[:4] + pointer + content[8:]
    with Image.open(_FirstDirectory(io.BytesIO(content), content[:16], 8)) as image:
        np.testing.assert_array_equal(np.asarray(image), random_gray())
