"""A file of an archive, opened: its pages or frames one at a time."""

import contextlib
import io
import zlib
from fractions import Fraction

import described_pictures
import numpy as np
import pytest
from encoded_pictures import SRGB, assert_is, encoded, kinds_of_files, random_gray, random_rgb, tiff
from PIL import Image

from modeling_chromagan.archive.pages import Page
from modeling_chromagan.archive.scan import Scan, open_scan
from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.image_loading import load_color, load_image
from modeling_chromagan.picture_formats import RAW_SUFFIXES


def opened(content: bytes, name: str = "the name") -> tuple[Scan, list[Page]]:
    with open_scan(content, name=name, max_pixels=10**6) as scan:
        return scan, list(scan.pages())


def moving(count: int) -> list[np.ndarray]:
    """Frames of a dark bar that moves over noise."""
    frames = [np.tile(random_gray(), (2, 2)) // 2 + 127 for _ in range(count)]
    for number, frame in enumerate(frames):
        frame[:, 5 * number : 5 * number + 4] = 0
    return frames


def animated(frames: list[np.ndarray], file_format: str, **options) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    return encoded(images[0], file_format, save_all=True, append_images=images[1:], **options)


@pytest.mark.parametrize("kind", [kind for kind in kinds_of_files() if "animation" not in kind])
def test_a_single_picture_is_what_load_image_reads(kind, tmp_path):
    content = kinds_of_files()[kind]
    path = tmp_path / "a"
    path.write_bytes(content)
    for source in (content, path):
        scan, (page, *others) = opened(source)
        expected = load_image(content)
        np.testing.assert_array_equal(page.image.gray, expected.gray)
        assert (page.image.alpha is None) == (expected.alpha is None)
        assert page.image.format == scan.format == expected.format
        assert page.depth == (16 if "16" in kind or kind in ("tiff deflate", "tiff float") else 8)
        assert scan.largest == page.image.gray.size
        assert len(others) == (kind == "tiff pages")
        assert scan.layout == ("pages" if others else "single")
        assert page.duration is scan.loops is None
        if page.colors is not None:
            np.testing.assert_array_equal(np.asarray(page.colors), np.asarray(load_color(content)))


@pytest.mark.parametrize(
    ("file_format", "options", "loops"),
    [
        ("GIF", {"loop": 0}, 0),
        ("GIF", {}, 1),
        ("GIF", {"loop": 4}, 5),  # it counts repetitions
        ("PNG", {"loop": 0}, 0),
        ("PNG", {"loop": 3}, 3),
        ("WEBP", {"loop": 3, "lossless": True}, 3),
    ],
)
def test_every_frame_with_its_time(file_format, options, loops):
    frames, durations = moving(4), [40, 100, 30, 1000]
    if file_format == "WEBP":
        frames = [np.dstack([frame] * 3) for frame in frames]
    scan, pages = opened(animated(frames, file_format, duration=durations, **options))
    assert (scan.layout, scan.count, scan.loops, scan.format) == ("frames", 4, loops, file_format)
    assert [page.duration for page in pages] == durations
    for page, frame in zip(pages, frames, strict=True):
        np.testing.assert_array_equal(page.image.gray, frame if frame.ndim == 2 else frame[..., 0])
    again = [page.image.gray for page in scan.pages()]
    np.testing.assert_array_equal(again[0], pages[0].image.gray)


def test_times_of_apng_are_exact():
    durations = [Fraction(1000, 3), Fraction(1000, 30), Fraction(1001, 24), Fraction(65535)]
    content = animated(moving(4), "PNG", duration=[float(duration) for duration in durations])
    assert [page.duration for page in opened(content)[1]] == durations


def test_a_picture_for_those_who_cannot_play_is_no_frame():
    frames = moving(3)
    scan, pages = opened(animated(frames, "PNG", duration=100, default_image=True))
    assert (scan.count, len(scan.notes)) == (2, 1)
    for page, frame in zip(pages, frames[1:], strict=True):
        np.testing.assert_array_equal(page.image.gray, frame)


def test_frames_that_uncover_what_is_below_are_composed():
    frames = []
    for number in range(3):
        frame = Image.new("P", (30, 20), 0)
        frame.putpalette([0, 0, 0, 255, 255, 255] + [7] * 762)
        frame.paste(1, (10 * number, 5, 10 * number + 8, 15))
        frames.append(frame)
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=0, disposal=2)
    for number, page in enumerate(opened(content)[1]):
        expected = np.zeros((20, 30), np.uint8)
        expected[5:15, 10 * number : 10 * number + 8] = 255
        np.testing.assert_array_equal(page.image.alpha, expected)


def test_a_frame_that_is_larger_than_the_animation_is_named():
    content = bytearray(animated(moving(2), "GIF", duration=100))
    second = content.rindex(b"!\xf9\4") + 8  # behind its time
    assert content[second : second + 1] == b","
    content[second + 1 : second + 3] = (1000).to_bytes(2, "little")
    with open_scan(bytes(content), name="the name", max_pixels=10**6) as scan:
        pages = scan.pages()
        height, width = next(pages).image.gray.shape
        with pytest.raises(ImageLoadError, match=rf"^the name: frame 2: has 10\d\d x {height} pixels, .* {width} x"):
            next(pages)


def test_a_damaged_frame_is_named():
    content = animated([np.dstack([frame] * 3) for frame in moving(3)], "PNG", duration=100)
    last = content.rindex(b"fdAT")
    with open_scan(content[: last + 20], name="the name", max_pixels=10**6) as scan:
        pages = scan.pages()
        next(pages), next(pages)
        with pytest.raises(ImageLoadError, match=r"^the name: frame 3: damaged or truncated"):
            next(pages)


def test_of_other_files_with_several_pictures_the_main_one_is_read():
    scan, pages = opened(kinds_of_files()["mpo"])
    assert (scan.layout, len(pages), len(scan.notes)) == ("single", 1, 1)


def test_the_profile_that_is_embedded():
    assert opened(encoded(random_rgb(), "PNG", icc_profile=SRGB))[0].profile == SRGB
    assert opened(encoded(random_rgb(), "JPEG"))[0].profile == b""


def test_heic_is_read_where_its_library_is():
    pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    Image.fromarray(random_gray()).save(buffer, "HEIF", quality=-1)
    scan, (page,) = opened(buffer.getvalue())
    assert scan.format == "HEIF"
    assert_is(page.image, random_gray())


def test_camera_raw_is_told_by_name_and_by_content(tmp_path):
    content = encoded(random_gray(), "TIFF")
    for suffix in sorted(RAW_SUFFIXES):
        with pytest.raises(ImageLoadError, match="camera raw file; develop it to TIFF"):
            opened(content, f"a{suffix.upper()}")
    dng = encoded(random_gray(), "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    sensor = tiff(random_gray(np.uint16), 16, photometric=32803)
    for content in (dng, sensor, b"II*\0\x10\0\0\0CR\2\0" + bytes(30), b"FUJIFILMCCD-RAW 0201" + bytes(30)):
        with pytest.raises(ImageLoadError, match=r"^a.tif: a camera raw file"):
            opened(content, "a.tif")
        with pytest.raises(ImageLoadError, match=r"a camera raw file|unsupported TIFF"):
            load_image(content)


def test_files_are_closed(tmp_path):
    """pytest makes an error of files that are left open."""
    path = tmp_path / "a.tif"
    path.write_bytes(encoded(random_gray(), "TIFF"))
    scan = open_scan(path, name="a", max_pixels=10**6)
    scan.close()
    path.write_bytes(b"II*\0 no TIFF")
    with pytest.raises(ImageLoadError):
        open_scan(path, name="a", max_pixels=10**6)
    with pytest.raises(ImageLoadError, match=r"^a: no such file"):
        open_scan(tmp_path / "none", name="a", max_pixels=10**6)


@pytest.mark.parametrize("kind", kinds_of_files())
def test_damage_is_one_error_or_complete(kind, capfd):
    content, random = kinds_of_files()[kind], np.random.default_rng(5)
    whole = [page.image.gray for page in opened(content)[1]]
    for length in [*range(0, 64, 8), *range(64, len(content), 29)]:
        with contextlib.suppress(ImageLoadError):
            pages = [page.image.gray for page in opened(content[:length])[1]]
            assert len(pages) == len(whole)
            for page, expected in zip(pages, whole, strict=True):
                np.testing.assert_array_equal(page, expected)
    for _ in range(30):
        damaged = bytearray(content)
        for position in random.integers(0, min(len(content), random.choice([60, 300, 10_000])), 2):
            damaged[position] = random.integers(0, 256)
        with contextlib.suppress(ImageLoadError):
            opened(bytes(damaged))
    assert capfd.readouterr() == ("", "")


def test_metadata_that_pillow_stumbles_over_does_not_fail_a_picture():
    workflow = b"Workflow\0\0" + zlib.compress(b"word " * 500_000)
    damaged = described_pictures.png((b"tEXt", b"Title\0street"), (b"zTXt", workflow)).replace(b"street", b"strxxt")
    _, (page,) = opened(damaged)
    np.testing.assert_array_equal(page.image.gray, np.asarray(described_pictures.gray()))
    assert [len(entry.text) for entry in page.metadata.text] == [2_500_000]
    assert len(page.metadata.notes) == 1


def test_shared_cases(data_root):
    expected = {"pages.tif": ("pages", 3), "anim.gif": ("frames", 3), "scan.jp2": ("single", 1)}
    for name, found in expected.items():
        with open_scan(data_root / "cases" / name, name=name, max_pixels=10**6) as scan:
            assert (scan.layout, len(list(scan.pages()))) == found
