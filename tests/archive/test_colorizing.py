"""One file in, its result out: every page at its depth, with what it says, in the format that is asked for."""

import dataclasses
import hashlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from encoded_pictures import adobe_rgb, gamma_curve, icc_profile
from picture_files import files_in, write_picture
from PIL import Image

from modeling_chromagan.archive import local_store, tiff_file
from modeling_chromagan.archive.colorizing import FileColorizer
from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.pages import AlreadyInColorError
from modeling_chromagan.archive.run_settings import RunSettings
from modeling_chromagan.archive.scan import PAGE_ROOM
from modeling_chromagan.archive.xmp import Packet
from modeling_chromagan.color_profiles import linear_to_srgb, reduce_unit, srgb_to_linear
from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.sources.models import load_pipeline


@pytest.fixture
def colorize(tmp_path, model_folder):
    """Colorizes a file into `out` under a name, with changed settings: its `Result`."""
    pipeline = load_pipeline(model_folder)

    def colorize(path, output, *, compare=False, keep=(), **settings):
        colorizer = FileColorizer(pipeline, RunSettings(**settings), "a model", "abc")
        store = LocalStore(tmp_path / "out")
        return colorizer.colorize(
            store.read(path),
            called=str(path),
            output=output,
            compare=compare,
            keep=frozenset(keep),
            write=store.write,
        )

    return colorize


def colors(seed=0, height=40, width=56):
    """A picture in strong colors, as a photograph has them: of every hue."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("name", "depth"), [("a.png", 16), ("a.tif", 16), ("a.jp2", 16), ("a.jpg", 8), ("a.webp", 8)])
def test_sixteen_bits_stay_sixteen_where_the_format_holds_them(colorize, tmp_path, name, depth):
    gray = np.arange(40 * 64, dtype=np.uint16).reshape(40, 64) * 25
    tifffile.imwrite(tmp_path / "deep.tif", gray)
    result = colorize(tmp_path / "deep.tif", name)
    assert any("8 bits a channel" in note for note in result.notes) == (depth == 8)
    if name == "a.tif":
        pixels = tifffile.imread(tmp_path / "out" / name)
        assert pixels.dtype == np.uint16
        assert np.ptp(pixels.astype(int), axis=2).max() > 2000
        assert np.abs(reduce_unit(pixels / 65535) * 65535 - gray).max() <= 1
    else:
        assert (b"IHDR" not in (data := (tmp_path / "out" / name).read_bytes())) or data[24] == depth
    assert colorize(tmp_path / "deep.tif", "b.tif", depth="8")
    assert tifffile.imread(tmp_path / "out" / "b.tif").dtype == np.uint8


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jp2"])
def test_opacity_of_16_bits_stays_exactly_what_it_is(colorize, tmp_path, name):
    pair = np.random.default_rng(0).integers(0, 65536, (40, 64, 2)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pair))
    decode = {"a.png": imagecodecs.png_decode, "a.jp2": imagecodecs.jpeg2k_decode, "a.tif": imagecodecs.tiff_decode}
    for depth, opacity in (("same", pair[..., 1]), ("8", np.rint(pair[..., 1] / 257))):
        assert colorize(tmp_path / "a.png", name, depth=depth, compare=True).notes == ()
        found = decode[name]((tmp_path / "out" / name).read_bytes())
        np.testing.assert_array_equal(found[..., 3], opacity)


ADOBE_RGB = (0.31111, 0.62567, 0.06322)  # luminance of its primaries under D50
GAMMA_18, GAMMA_22 = (icc_profile(b"GRAY", kTRC=gamma_curve(gamma)) for gamma in (1.8, 2.2))


@pytest.mark.parametrize("profile", ["srgb", "adobe-rgb"])
@pytest.mark.parametrize("gamma", [1.8, 2.2])
def test_deep_shadows_of_a_profile_keep_their_steps(colorize, tmp_path, profile, gamma):
    """In 65,536 sRGB codes the first 80 steps of gamma 2.2 would be one."""
    gray = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 2
    gray[:, 32:] *= 7  # else it is one dark margin
    tifffile.imwrite(tmp_path / "a.tif", gray, iccprofile=icc_profile(b"GRAY", kTRC=gamma_curve(gamma)))
    colorize(tmp_path / "a.tif", "a.tif", profile=profile)
    pixels = tifffile.imread(tmp_path / "out" / "a.tif")
    assert np.ptp(pixels.astype(int), axis=2).max() > 1000
    linear = (gray / 65535) ** (round(gamma * 256) / 256)
    if profile == "srgb":
        difference = reduce_unit(pixels / 65535) - linear_to_srgb(linear)
    else:
        found = (pixels / 65535) ** (563 / 256) @ np.array(ADOBE_RGB)
        difference = found ** (256 / 563) - linear ** (256 / 563)
    assert np.abs(difference).max() * 65535 <= 1


def test_pages_of_other_profiles_keep_their_luminance_in_the_space_of_the_first(colorize, tmp_path):
    gray = write_picture(tmp_path / "unused.png")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for profile in (GAMMA_18, GAMMA_22, None):
            file.write(gray, iccprofile=profile, metadata=None)
    colorize(tmp_path / "a.tif", "a.tif", profile="same")
    for page, curve in enumerate([lambda x: x**1.8, lambda x: x**2.2, srgb_to_linear]):
        found = (tifffile.imread(tmp_path / "out" / "a.tif", key=page) / 255) ** 1.8 @ np.array(ADOBE_RGB)
        assert np.abs(found ** (1 / 1.8) - curve(gray / 255) ** (1 / 1.8)).max() * 255 < 0.55


def test_pages_are_colored_but_those_in_color(colorize, tmp_path):
    pages = [Image.fromarray(write_picture(tmp_path / "unused.png", 40 + 4 * n, 56, n)) for n in range(3)]
    pages[1] = colors()
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    result = colorize(tmp_path / "pages.tif", "pages.tif")
    assert result.pictures == 3
    with tifffile.TiffFile(tmp_path / "out" / "pages.tif") as file:
        made = [page.asarray() for page in file.pages]
    assert [page.shape for page in made] == [(40, 56, 3), (40, 56, 3), (48, 56, 3)]
    np.testing.assert_array_equal(made[1], np.asarray(pages[1]))
    assert np.ptp(made[0].astype(int), axis=2).max() > 10
    colorize(tmp_path / "pages.tif", "again.tif", recolor=True)
    assert not np.array_equal(tifffile.imread(tmp_path / "out" / "again.tif", key=1), made[1])

    colorize(tmp_path / "pages.tif", "pages.jpg")
    files = [name for name in files_in(tmp_path / "out") if name.endswith("jpg")]
    assert files == ["pages.jpg", "pages.page-0002.jpg", "pages.page-0003.jpg"]


def test_a_page_in_color_is_left_with_its_bits_its_opacity_and_its_profile(colorize, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 4)).astype(np.uint16)
    deep = np.dstack([np.asarray(colors()), noise[..., 3]]).astype(np.uint16) * 256 + noise
    shallow = np.asarray(colors(1))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(write_picture(tmp_path / "unused.png"), metadata=None)
        file.write(deep, metadata=None, photometric="rgb", extrasamples=["unassalpha"], iccprofile=adobe_rgb())
        file.write(shallow, metadata=None, photometric="rgb", iccprofile=adobe_rgb())
        file.write(np.ascontiguousarray(np.rot90(deep[..., :3])), extratags=[(274, 3, 1, 6, True)], metadata=None)
    assert colorize(tmp_path / "a.tif", "a.tif", profile="prophoto").notes == ()
    with tifffile.TiffFile(tmp_path / "out" / "a.tif") as file:
        for page, expected in zip(file.pages[1:], (deep, shallow, deep[..., :3]), strict=True):
            np.testing.assert_array_equal(page.asarray(), expected)
        assert [page.iccprofile == adobe_rgb() for page in file.pages] == [False, True, True, False]
    colorize(tmp_path / "a.tif", "a.png", depth="8")
    with Image.open(tmp_path / "out" / "a.page-0002.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.rint(deep / 257))
        assert picture.info["icc_profile"] == adobe_rgb()


def test_a_tiff_of_small_and_large_pages_has_the_offsets_that_all_of_them_need(colorize, tmp_path, monkeypatch):
    gray = write_picture(tmp_path / "unused.png", 40, 56)
    deep = np.dstack([gray, gray]).astype(np.uint16) * 257
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(gray, metadata=None)
        file.write(deep, photometric="minisblack", extrasamples=["unassalpha"], metadata=None)
    size = 2 * PAGE_ROOM + gray.size * (3 + 8)
    for limit, mark in ((size, 42), (size - 1, 43)):
        monkeypatch.setattr(tiff_file, "CLASSIC_LIMIT", limit)
        colorize(tmp_path / "a.tif", "a.tif")
        assert (tmp_path / "out" / "a.tif").read_bytes()[2] == mark


def test_frames_in_color_have_the_depth_of_the_others(colorize, tmp_path):
    gray = Image.fromarray(write_picture(tmp_path / "unused.png")).convert("RGB")
    gray.save(tmp_path / "a.png", save_all=True, append_images=[colors(0, *gray.size[::-1])], duration=100)
    assert colorize(tmp_path / "a.png", "a.png", depth="16").pictures == 2
    assert (tmp_path / "out" / "a.png").read_bytes()[24] == 16


def test_what_stands_still_in_a_film_has_one_color(colorize, tmp_path):
    """A network colors every noisy frame a little differently; steady frames differ by the noise of the gray alone."""
    still = write_picture(tmp_path / "unused.png").astype(np.int16)
    noise = np.random.default_rng(0)
    frames = [Image.fromarray((still + noise.integers(-3, 4, still.shape)).astype(np.uint8)) for _ in range(5)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:], duration=[40, 80, 120, 40, 40])
    for number, frame in enumerate(frames):
        frame.save(tmp_path / f"{number}.png")
        colorize(tmp_path / f"{number}.png", f"{number}.png")
    assert colorize(tmp_path / "film.png", "film.png").pictures == 5
    alone, steady = [], []
    with Image.open(tmp_path / "out" / "film.png") as film:
        for number in range(5):
            film.seek(number)
            assert film.info["duration"] == [40, 80, 120, 40, 40][number]
            steady.append(np.asarray(film.convert("RGB")).astype(float))
            alone.append(np.asarray(Image.open(tmp_path / "out" / f"{number}.png").convert("RGB")).astype(float))
    flicker = [np.std([frame[..., 0] - frame[..., 2] for frame in kind], axis=0).mean() for kind in (alone, steady)]
    assert np.ptp(steady[0], axis=2).max() > 10
    assert flicker[1] < flicker[0] / 2


def test_a_file_in_color_is_left_alone(colorize, tmp_path):
    colors().save(tmp_path / "one.png")
    colors().save(tmp_path / "two.tif", save_all=True, append_images=[colors(1)])
    for name in ("one.png", "two.tif"):
        with pytest.raises(AlreadyInColorError):
            colorize(tmp_path / name, name, compare=True)
    assert not (tmp_path / "out").exists()
    assert colorize(tmp_path / "one.png", "one.png", recolor=True).outputs[0].name == "one.png"


def test_a_comparison_shows_the_first_page_and_what_is_kept_is_not_touched(colorize, tmp_path):
    pages = [Image.fromarray(write_picture(tmp_path / "unused.png", 40, 56, n)) for n in range(2)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    result = colorize(tmp_path / "pages.tif", "pages.tif", compare=True, depth="16", profile="adobe-rgb")
    assert [output.name for output in result.outputs] == ["pages.compare.tif", "pages.tif"]
    both = tifffile.imread(tmp_path / "out" / "pages.compare.tif")
    assert (both.shape, both.dtype) == ((40, 112, 3), np.uint8)
    np.testing.assert_array_equal(both[:, :56], np.repeat(np.asarray(pages[0])[..., None], 3, axis=2))
    for output in result.outputs:
        assert hashlib.sha256((tmp_path / "out" / output.name).read_bytes()).hexdigest() == output.sha256
    (tmp_path / "out" / "pages.tif").write_bytes(b"edited")
    colorize(tmp_path / "pages.tif", "pages.tif", compare=True, keep=["pages.tif"])
    assert (tmp_path / "out" / "pages.tif").read_bytes() == b"edited"


def test_what_a_file_says_goes_with_it_and_where_the_colors_come_from(colorize, tmp_path):
    write_picture(tmp_path / "a.jpg", dpi=(300, 300), comment=b"by hand")
    for settings, resolution, said in (
        ({}, (300, 300), b"compositeWithTrainedAlgorithmicMedia"),
        ({"metadata": "minimal", "provenance": False}, (300, 300), b"JFIF"),
        ({"metadata": "none", "provenance": False}, None, b"JFIF"),
    ):
        colorize(tmp_path / "a.jpg", "a.jpg", **settings)
        with Image.open(tmp_path / "out" / "a.jpg") as picture:
            assert picture.info.get("dpi") == resolution
            assert ("comment" in picture.info) == (settings == {})
        data = (tmp_path / "out" / "a.jpg").read_bytes()
        assert said in data
        assert (b"Iptc4xmpExt" in data) == (settings == {})
    before = hashlib.sha256(data).hexdigest()
    assert colorize(tmp_path / "a.jpg", "a.jpg", **settings).outputs[0].sha256 == before


def test_a_source_type_that_gives_way_is_said(colorize, tmp_path):
    packet = Packet()
    packet.put("Iptc4xmpExt:DigitalSourceType", ["http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm"])
    write_picture(tmp_path / "a.jpg", xmp=packet.pack())
    (note,) = colorize(tmp_path / "a.jpg", "a.tif").notes
    assert "negativeFilm" in note
    assert colorize(tmp_path / "a.jpg", "a.tif", provenance=False).notes == ()


def test_what_a_format_cannot_say_is_named_as_left_out(colorize, tmp_path):
    write_picture(tmp_path / "a.tif", tiffinfo={282: 2.0, 283: 1.0, 296: 1})
    assert colorize(tmp_path / "a.tif", "a.webp").notes == (
        "left out: resolution: WebP has no place for the mere shape of pixels",
    )


def test_a_large_file_that_changes_under_the_reader_leaves_no_result(colorize, tmp_path, monkeypatch):
    write_picture(tmp_path / "a.png")
    monkeypatch.setattr(local_store, "READ_WHOLE", 10)
    read = LocalStore.read

    def read_and_change(self, source):
        return dataclasses.replace(read(self, source), version=(0, 0))

    assert colorize(tmp_path / "a.png", "a.png").pictures == 1
    monkeypatch.setattr(LocalStore, "read", read_and_change)
    with pytest.raises(ImageLoadError, match="was changed while it was read"):
        colorize(tmp_path / "a.png", "b.png")
    assert files_in(tmp_path / "out") == ["a.png"]
