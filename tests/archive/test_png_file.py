"""Chunks of a PNG, and the frames of an APNG."""

import io
import struct
from fractions import Fraction

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from written_pages import XMP, everything, random_page

from modeling_chromagan.archive.metadata import Metadata, Resolution
from modeling_chromagan.archive.writing import encode_pages, write_pages


def chunks(data: bytes) -> list[tuple[str, bytes]]:
    found, position = [], 8
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        found.append((name.decode(), data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def encode(*pages, layout: str = "single", **settings) -> bytes:
    return encode_pages(pages, output_format="png", layout=layout, profile=b"", **settings)


def test_metadata_are_chunks_in_front_of_the_pixels():
    metadata = everything()
    data = encode(random_page(metadata=metadata))
    names = [name for name, _ in chunks(data)]
    assert names == ["IHDR", "sRGB", "pHYs", "eXIf", "iTXt", "tEXt", "iTXt", "IDAT", "IEND"]
    assert dict(chunks(data))["eXIf"] == metadata.exif
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.info["xmp"] == XMP
        assert image.info["dpi"] == pytest.approx((300, 600), rel=1e-5)
        assert (image.text["Title"], image.text["Author"]) == ("Straße", "Łódź")
        assert (image.text["Author"].lang, image.text["Author"].tkey) == ("pl", "Autor")


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        (Resolution(Fraction(300), Fraction(300), "inch"), (11811, 11811, 1)),
        (Resolution(Fraction(204), Fraction(98), "inch"), (8031, 3858, 1)),
        (Resolution(Fraction(236, 2), Fraction(100), "centimeter"), (11800, 10000, 1)),
        (Resolution(Fraction(3, 2), Fraction(1), "none"), (3, 2, 0)),
    ],
)
def test_resolution_is_pixels_a_meter_or_a_mere_aspect(resolution, expected):
    data = encode(random_page(metadata=Metadata(resolution=resolution)))
    assert struct.unpack(">IIB", dict(chunks(data))["pHYs"]) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_frames_come_back_with_their_exact_times(dtype, channels):
    durations = [Fraction(100, 3), Fraction(10), Fraction(0), Fraction(65_000)]
    pages = [
        random_page((9, 13, channels), dtype, seed=seed, duration=duration) for seed, duration in enumerate(durations)
    ]
    data = encode(*pages, layout="frames", loops=7)
    found = chunks(data)
    assert struct.unpack(">II", dict(found)["acTL"]) == (4, 7)
    times = [struct.unpack_from(">HH", content, 20) for name, content in found if name == "fcTL"]
    assert [Fraction(*time) for time in times] == [duration / 1000 for duration in durations]
    decoded = imagecodecs.apng_decode(data)
    np.testing.assert_array_equal(decoded, np.stack([page.pixels for page in pages]))
    if dtype == np.uint8:
        with Image.open(io.BytesIO(data)) as image:
            assert (image.n_frames, image.info["loop"]) == (4, 7)
            for number, page in enumerate(pages):
                image.seek(number)
                np.testing.assert_array_equal(np.asarray(image), page.pixels)


def test_times_that_apng_cannot_say_are_rounded_and_named(tmp_path):
    pages = [random_page(duration=Fraction(duration)) for duration in ("16.68335001", "70001000", "65001.5")]
    written = write_pages(pages, tmp_path / "a", output_format="png", layout="frames", profile=b"")
    assert any("APNG times frames" in note for note in written.notes)
    times = [struct.unpack_from(">HH", x, 20) for name, x in chunks((tmp_path / "a").read_bytes()) if name == "fcTL"]
    seconds = [Fraction(*time) for time in times]
    assert float(seconds[0]) == pytest.approx(0.01668335001, rel=1e-7)
    assert seconds[1] == 65_535
    assert float(seconds[2]) == pytest.approx(65.0015, rel=1e-5)
