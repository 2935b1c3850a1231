"""Which of a TIFF's directories are its pages."""

import io
import struct

import numpy as np
import pytest
from encoded_pictures import encoded, random_gray, tiff
from PIL import Image
from tiff_files import photograph, reduced, tiff_file

from modeling_chromagan.archive.scan import open_scan
from modeling_chromagan.archive.tiff_pages import SAMPLE, Directory, find_directories, find_pages, looks_same
from modeling_chromagan.errors import ImageLoadError

FIRST, SECOND, THIRD = (photograph(seed) for seed in range(3))
REDUCED, MASK, PAGE = ({"subfiletype": kind} for kind in (1, 4, 2))


def grays(content: bytes) -> list[np.ndarray]:
    with open_scan(content, name="the name", max_pixels=10**6) as scan:
        assert scan.layout == ("pages" if scan.count > 1 else "single")
        pages = [page.image.gray for page in scan.pages()]
        assert len(pages) == scan.count
        assert max(page.size for page in pages) == scan.largest
    return pages


def assert_pages(content: bytes, *expected: np.ndarray):
    found = grays(content)
    assert [page.shape for page in found] == [page.shape for page in expected]
    for page, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(page, wanted)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}])
def test_pages_of_different_sizes(options):
    other = photograph(4, 50, 70)
    assert_pages(
        tiff_file((FIRST, PAGE), (other, PAGE), (SECOND, {"compression": "lzw"}), **options), FIRST, other, SECOND
    )


@pytest.mark.parametrize("flag", [REDUCED, {}], ids=["tagged", "untagged"])
def test_reductions_are_no_pages_whichever_comes_first(flag):
    half, quarter = reduced(FIRST), reduced(FIRST, 4)
    for pages in (
        [(FIRST, {}), (half, flag), (quarter, flag)],
        [(quarter, flag), (FIRST, {})],
        [(half, flag), (quarter, flag), (FIRST, {})],
    ):
        assert_pages(tiff_file(*pages), FIRST)
    each_with_one = [(FIRST, {}), (half, flag), (SECOND, {}), (reduced(SECOND, 4), flag)]
    assert_pages(tiff_file(*each_with_one), FIRST, SECOND)


def test_what_the_old_tag_calls_a_reduction_is_none():
    content = tiff_file((FIRST, {}), (reduced(SECOND), {"extratags": [(255, 3, 1, 2, True)]}))
    assert_pages(content, FIRST)


@pytest.mark.parametrize("flag", [REDUCED, {}], ids=["tagged", "untagged"])
def test_pictures_below_a_page(flag):
    """Sub-directories: a pyramid below the page, and the page below its thumbnail."""
    pyramid = [(FIRST, {"subifds": 2}), (reduced(FIRST), flag), (reduced(FIRST, 4), flag), (SECOND, {})]
    assert_pages(tiff_file(*pyramid), FIRST, SECOND)
    preview = [(reduced(FIRST, 4), {"subifds": 1, **flag}), (FIRST, {}), (SECOND, {})]
    assert_pages(tiff_file(*preview), FIRST, SECOND)


def test_a_smaller_page_that_shows_something_else_is_a_page():
    small = reduced(SECOND)
    assert_pages(tiff_file((FIRST, {}), (small, {}), (THIRD, {})), FIRST, small, THIRD)


def test_masks_are_no_pages():
    mask = np.ones(FIRST.shape, bool)
    assert_pages(tiff_file((FIRST, {}), (mask, MASK)), FIRST)


def test_a_file_of_nothing_but_tagged_reductions_has_them_as_pages():
    assert_pages(tiff_file((FIRST, REDUCED), (SECOND, REDUCED)), FIRST, SECOND)


def test_a_reduction_is_recognized_although_only_the_large_one_is_turned():
    turned = np.rot90(FIRST)  # as stored; orientation 6 turns it back
    content = tiff_file((reduced(turned, 4), {}), (turned, {"extratags": [(274, 3, 1, 6, True)]}))
    assert_pages(content, FIRST)


def test_what_is_left_out_is_noted():
    for content, notes in (
        (tiff_file((FIRST, {}), (SECOND, {})), 0),
        (tiff_file((FIRST, {}), (reduced(FIRST), REDUCED)), 1),
    ):
        with open_scan(content, name="the name", max_pixels=10**6) as scan:
            assert len(scan.notes) == notes


def test_few_comparisons_speak_for_a_file_of_thousands():
    compared = []

    def same(small: Directory, large: Directory) -> bool:
        compared.append(small.page)
        return alike

    pairs = []
    for page in range(1, 2001, 2):
        pairs += [Directory(8, page, 60, 40, False, False), Directory(8, page + 1, 600, 400, False, False)]
    for alike in (True, False):
        compared.clear()
        assert len(find_pages(pairs, same)) == (1000 if alike else 2000)
        assert len(set(compared)) == SAMPLE
    equal = [Directory(8, page, 2480 - page % 3, 3508, False, False) for page in range(5000)]
    compared.clear()
    assert find_pages(equal, same) == equal
    assert not compared


def test_flat_pictures_do_not_look_the_same():
    assert looks_same(FIRST / 255, 0.5 * FIRST / 255)
    assert not looks_same(FIRST / 255, SECOND / 255)
    assert not looks_same(np.full((8, 8), 0.5), np.full((8, 8), 0.5))


def test_a_page_that_is_cut_off_is_named():
    content = encoded(Image.fromarray(FIRST), "TIFF", save_all=True, append_images=[Image.fromarray(SECOND)] * 2)
    offsets = [directory.offset for directory in find_directories(io.BytesIO(content), "the name")[0]]
    assert len(offsets) == 3
    for length in (offsets[2] - 1, offsets[2] + 1, offsets[2] + 20):
        with pytest.raises(ImageLoadError, match=r"^the name: damaged or truncated file \(page 3 is not there\)"):
            grays(content[:length])


def test_what_old_programs_leave_behind_the_only_page_is_a_note():
    content = tiff(random_gray(), 8)
    start = struct.unpack_from("<I", content, 4)[0]
    (count,) = struct.unpack_from("<H", content, start)
    at = start + 2 + 12 * count
    content = content[:at] + struct.pack("<I", len(content)) + content[at + 4 :] + b"\0\0 rubbish"
    with open_scan(content, name="the name", max_pixels=10**6) as scan:
        assert (scan.count, len(scan.notes)) == (1, 1)
        np.testing.assert_array_equal(next(scan.pages()).image.gray, random_gray())


def test_directories_that_point_back_end_the_file():
    content = tiff(random_gray(), 8)
    start = struct.unpack_from("<I", content, 4)[0]
    (count,) = struct.unpack_from("<H", content, start)
    at = start + 2 + 12 * count
    assert_pages(content[:at] + struct.pack("<I", start) + content[at + 4 :], random_gray())
