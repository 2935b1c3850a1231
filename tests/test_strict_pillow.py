"""Pillow is strict while a picture is read, and as before afterwards."""

import io
import logging
import struct
import threading
import warnings

import pytest
from encoded_pictures import (
    assert_is,
    encoded,
    png,
    random_gray,
    random_rgb,
    reason_of,
    tiff,
)
from PIL import Image, ImageFile

from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.image_loading import load_image


def test_pillows_log_messages_are_not_printed(monkeypatch, capfd):
    monkeypatch.setattr(logging.getLogger("PIL"), "propagate", False)  # or pytest would take them
    one_sample, many_samples = (struct.pack("<HHIHH", 277, 3, 1, count, 0) for count in (1, 2048))
    content = tiff(random_gray(), 8).replace(one_sample, many_samples)
    assert "samples per pixel" in reason_of(content)
    assert capfd.readouterr() == ("", "")


def test_pillows_warnings_about_readable_pictures_are_not_shown():
    gray = random_gray()
    content = encoded(gray, "TIFF", compression="tiff_adobe_deflate")  # the tags come last
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(io.BytesIO(content[:-2]))
    assert_is(load_image(content[:-2]), gray)


def test_truncated_files_are_refused_where_the_program_tolerates_them(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # training scripts like to set it
    content = encoded(random_rgb(), "JPEG")
    assert "truncated" in reason_of(content[: len(content) // 2 + 300])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_pictures_above_pillows_own_limit_are_read(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    gray = random_gray()
    assert_is(load_image(encoded(gray, "PNG")), gray)


def test_nothing_of_the_process_stays_changed():
    def state():
        return (
            Image.MAX_IMAGE_PIXELS,
            ImageFile.LOAD_TRUNCATED_IMAGES,
            warnings.filters,
            logging.getLogger("PIL").handlers,
        )

    before = [*state()[:2], *map(list, state()[2:])]
    load_image(encoded(random_gray(), "PNG"))
    for content in (b"", b"text", png(b"", 10**5, 10**5, 8, 0), encoded(random_gray(), "PNG")[:200]):
        reason_of(content)
    assert [*state()[:2], *map(list, state()[2:])] == before


def test_threads_with_different_limits_do_not_disturb_each_other():
    """Visitors of a server: one limit per call, though Pillow's is one per process."""
    gray = random_gray()
    content = encoded(gray, "PNG")
    limit, failures = Image.MAX_IMAGE_PIXELS, []

    def work(max_pixels: int):
        for _ in range(40):
            try:
                accepted = load_image(content, max_pixels=max_pixels).gray.size == gray.size
            except ImageLoadError:
                accepted = False
            if accepted != (max_pixels >= gray.size):
                failures.append(max_pixels)

    threads = [threading.Thread(target=work, args=(size,)) for size in (1, gray.size - 1, gray.size, 10**6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert limit == Image.MAX_IMAGE_PIXELS


def test_two_threads_decode_at_the_same_time(monkeypatch):
    meeting, failures = threading.Barrier(2, timeout=60), []
    prepare = ImageFile.ImageFile.load_prepare

    def meet(image):
        meeting.wait()
        return prepare(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", meet)
    content = encoded(random_gray(), "PNG")

    def work():
        try:
            load_image(content)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
