"""Where results are written: the choice of `--profile`, and colors there that look the same."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import torch
from encoded_pictures import adobe_rgb, encoded, gamma_curve, icc_profile, sampled_curve, srgb_curve
from PIL import Image, ImageCms

from modeling_chromagan.archive.matrix_profile import make_profile
from modeling_chromagan.archive.scan import open_scan
from modeling_chromagan.archive.working_spaces import ADOBE_RGB, find_coding, find_working_space
from modeling_chromagan.color import encode_ab
from modeling_chromagan.composition import compose
from modeling_chromagan.errors import SettingError
from modeling_chromagan.image_processing_chromagan import ChromaGANImageProcessor

LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
SRGB_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GAMMA_18 = struct.pack(">4s4xIH", b"curv", 1, 461)
WIDE = make_profile("wide", ADOBE_RGB, GAMMA_18)


def measured(colors: np.ndarray, profile: bytes) -> np.ndarray:
    """What Little CMS finds: Lab relative to D50, (H, W, 3)."""
    return imagecodecs.cms_transform(
        colors, profile or SRGB_ICC, LAB, colorspace="rgb", outcolorspace="lab", outdtype=np.float64, intent=1
    )


def lightness(linear: np.ndarray) -> np.ndarray:
    return np.where(linear > 216 / 24389, 116 * np.cbrt(linear) - 16, linear * 24389 / 27)


CODES = np.linspace(0, 1, 65536)
SRGB_LINEAR = np.where(CODES > 0.04045, ((CODES + 0.055) / 1.055) ** 2.4, CODES / 12.92)


GRAY_SRGB = icc_profile(b"GRAY", kTRC=srgb_curve())


@pytest.mark.parametrize("choice", ["adobe-rgb", "prophoto", "file"])
def test_colors_look_the_same_and_luminance_is_the_scans(choice, tmp_path):
    (tmp_path / "wide.icc").write_bytes(WIDE)
    found = find_working_space(str(tmp_path / "wide.icc") if choice == "file" else choice, b"")
    gray = np.random.default_rng(0).integers(6000, 60000, (60, 80)).astype(np.uint16)
    ab = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0)) * 12
    here = measured(compose(gray, ab, depth=16, space=found.space), found.profile)
    assert np.abs(here[..., 0] - lightness(SRGB_LINEAR[gray])).max() < 0.01
    in_srgb = measured(compose(gray, ab, depth=16), b"")
    color, color_in_srgb = (lab[..., 1] + 1j * lab[..., 2] for lab in (here, in_srgb))
    inside = (np.abs(color_in_srgb) > 3) & (
        np.abs(np.abs(color) - np.abs(color_in_srgb)) < 0.5
    )  # neither was fitted in
    assert inside.mean() > 0.6
    assert np.abs(np.angle(color / color_in_srgb))[inside].max() < np.radians(1.0)
    assert np.abs(here[..., 0] - in_srgb[..., 0]).max() < 1.0  # of D65 and D50, luminance differs in colors


@pytest.mark.parametrize(
    ("choice", "name", "gamma", "red", "green", "blue"),
    [
        # Adobe RGB (1998) Color Image Encoding, 2005-05, and ISO 22028-2: primaries as x and y.
        ("adobe-rgb", "Compatible with Adobe RGB (1998)", 563 / 256, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
        ("prophoto", "ProPhoto RGB", 1.8, (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)),
    ],
)
def test_the_named_spaces_are_those_that_are_published(choice, name, gamma, red, green, blue):
    found = find_working_space(choice, b"")
    assert found.name == name
    assert not found.note
    profile = ImageCms.ImageCmsProfile(io.BytesIO(found.profile)).profile
    white = (0.3127, 0.3290) if choice == "adobe-rgb" else (0.3457, 0.3585)
    published = imagecodecs.cms_profile(
        "rgb", whitepoint=[*white, 1.0], primaries=[*red, 1.0, *green, 1.0, *blue, 1.0], gamma=gamma
    )
    expected = ImageCms.ImageCmsProfile(io.BytesIO(published)).profile
    for channel in ("red_colorant", "green_colorant", "blue_colorant"):
        assert getattr(profile, channel)[0] == pytest.approx(getattr(expected, channel)[0], abs=1e-4)
    codes = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.allclose(found.space.decode(codes), codes**gamma, atol=4e-4)
    assert torch.allclose(found.space.encode(found.space.decode(codes)), codes, atol=1e-9)


def test_the_same_choice_gives_the_same_bytes():
    for choice in ("adobe-rgb", "prophoto"):
        first = find_working_space(choice, b"").profile
        find_working_space.cache_clear()
        assert find_working_space(choice, b"").profile == first


def test_srgb_is_the_default_whatever_is_embedded():
    assert find_working_space("srgb", WIDE).profile == b""
    assert find_working_space("srgb", WIDE).space is find_working_space("same", b"").space


def test_same_is_the_scans_own_rgb_space():
    found = find_working_space("same", WIDE)
    assert (found.name, found.profile, found.note) == ("wide", WIDE, "")
    assert find_coding(WIDE) is found.space


@pytest.mark.parametrize("embedded", [SRGB_ICC, GRAY_SRGB], ids=["RGB", "gray"])
def test_a_profile_that_means_srgb_is_srgb(embedded):
    found = find_working_space("same", embedded)
    assert (found.space, found.profile, found.note) == (find_working_space("srgb", b"").space, b"", "")


GRAY_PROFILES = {
    "gamma 2.2": icc_profile(b"GRAY", kTRC=gamma_curve(2.2)),
    "gamma 1.8": icc_profile(b"GRAY", kTRC=gamma_curve(1.8)),
    "dot gain": icc_profile(b"GRAY", kTRC=sampled_curve(np.linspace(0, 1, 256) ** 1.75)),
}


@pytest.mark.parametrize("kind", GRAY_PROFILES)
def test_same_as_a_gray_profile_has_its_curve_in_wide_primaries(kind):
    embedded = GRAY_PROFILES[kind]
    found = find_working_space("same", embedded)
    assert not found.note
    assert find_coding(embedded) is found.space
    profile = ImageCms.ImageCmsProfile(io.BytesIO(found.profile)).profile
    assert profile.green_colorant[0] == pytest.approx((0.20528, 0.62567, 0.06087), abs=1e-5)
    # The same code is the same light in both.
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    gray = imagecodecs.cms_transform(
        np.asarray(ramp), embedded, LAB, colorspace="gray", outcolorspace="lab", outdtype=np.float64, intent=1
    )
    color = measured(np.asarray(ramp.convert("RGB")), found.profile)
    np.testing.assert_allclose(color, gray, atol=0.03)


LIFTED_BLACK = icc_profile(b"GRAY", kTRC=sampled_curve(np.linspace(0.01, 1, 256)))


@pytest.mark.parametrize("embedded", [b"", GRAY_SRGB, LAB, LIFTED_BLACK], ids=["none", "sRGB", "Lab", "lifted black"])
def test_without_a_curve_from_black_to_white_luminance_is_what_little_cms_finds(embedded):
    assert find_coding(embedded) is None


@pytest.mark.parametrize(
    ("embedded", "reason"),
    [
        (b"", "has no color profile"),
        (b"nonsense", "not an ICC profile"),
        (WIDE[:200], "damaged"),
        (LAB, "for Lab, not RGB"),
        (imagecodecs.cms_profile("gray"), "cannot build transform"),
    ],
)
def test_same_is_srgb_with_a_note_where_the_scan_has_no_such_space(embedded, reason):
    found = find_working_space("same", embedded)
    assert found.profile == b""
    assert reason in found.note
    assert found.note.endswith("the result is sRGB")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file or directory"),
        (b"II*\0", "not an ICC profile"),
        (icc_profile(b"GRAY", kTRC=gamma_curve(2.2)), "for GRAY, not RGB"),
        (LAB, "for Lab, not RGB"),
        (WIDE[:-30], "damaged"),
    ],
)
def test_a_file_of_no_use_is_one_line_that_names_it(tmp_path, content, reason):
    path = tmp_path / "my.icc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError) as caught:
        find_working_space(str(path), b"")
    line = str(caught.value)
    assert line.startswith(f"--profile {path}: ")
    assert reason in line.lower() or reason in line
    assert "accepted: srgb, adobe-rgb, prophoto, same, or the path" in line
    assert "\n" not in line


def test_a_folder_and_an_unknown_name_are_refused_too(tmp_path):
    for choice in (str(tmp_path), "rec2020"):
        with pytest.raises(SettingError, match=f"^--profile {choice}: .*accepted: srgb"):
            find_working_space(choice, b"")


def scans() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files of gray values with a profile of their own: every 8-bit level, or dark and other 16-bit ones."""
    levels = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
    deep = np.sort(np.random.default_rng(0).integers(0, 65536, (32, 64))).astype(np.uint16)
    deep[0] = np.arange(64)
    files = {}
    for kind, profile in GRAY_PROFILES.items():
        files[f"8 bits, {kind}"] = encoded(levels, "PNG", icc_profile=profile), levels
        files[f"16 bits, {kind}"] = encoded(deep, "PNG", icc_profile=profile), deep
    files["8 bits, RGB"] = encoded(np.dstack([levels] * 3), "PNG", icc_profile=adobe_rgb()), levels
    deep_rgb = imagecodecs.png_encode(np.dstack([deep] * 3))
    files["16 bits, RGB"] = with_profile(deep_rgb, adobe_rgb()), deep
    return files


def with_profile(png: bytes, profile: bytes) -> bytes:
    """A PNG file with an iCCP chunk behind its header."""
    data = b"profile\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(data)) + b"iCCP" + data + struct.pack(">I", zlib.crc32(b"iCCP" + data))
    return png[:33] + chunk + png[33:]


SCANS = scans()


@pytest.mark.parametrize("kind", SCANS)
def test_same_gives_the_stored_values_back(kind):
    content, stored = SCANS[kind]
    processor = ChromaGANImageProcessor(size=16, borders="keep")
    with open_scan(content, name="scan", max_pixels=10**6) as scan:
        found = find_working_space("same", scan.profile)
        prepared = processor.prepare(next(scan.pages()).image)
    assert not found.note
    coding = find_coding(prepared.original.profile)
    ab = encode_ab(torch.tensor([25.0, -18.0])[:, None, None].expand(2, 4, 4), processor.encoding)
    deep = stored.astype(np.uint16) * 257 if stored.dtype == np.uint8 else stored
    for depth, expected in ((8, np.rint(deep / 257)), (16, deep)):
        neutral = processor.compose_colors(ab, prepared, saturation=0, depth=depth, space=found.space, coding=coding)
        assert (neutral == expected[..., None]).all()
        colors = processor.compose_colors(ab, prepared, depth=depth, space=found.space, coding=coding)
        assert (colors != neutral).any()
        white = 2**depth - 1
        light = found.space.decode(torch.from_numpy(colors / white)).numpy() @ np.array(found.space.weights)
        coded = found.space.encode(torch.from_numpy(light)).numpy() * white
        # A curve in a table has corners, at which 16 bits are an eighth of a step further off.
        tolerance = 0.501 if depth == 8 else 1.2 if "dot gain" in kind else 0.75
        assert np.abs(coded - deep / 65535 * white).max() < tolerance
