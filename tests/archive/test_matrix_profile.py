"""ICC profiles of one tone curve: read as Little CMS reads them, made the same every time."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import ImageCms

from modeling_chromagan.archive.matrix_profile import (
    CODES,
    ProfileError,
    colorants_of,
    curve_of,
    make_profile,
    name_of,
    tags_of,
)

PRIMARIES = ((39960, 20389, 1276), (13453, 41004, 3989), (9777, 4143, 48796))


def curv(*values: int) -> bytes:
    return struct.pack(f">4s4xI{len(values)}H", b"curv", len(values), *values)


def para(kind: int, *values: float) -> bytes:
    return struct.pack(f">4s4xHH{len(values)}i", b"para", kind, 0, *(round(value * 65536) for value in values))


SRGB_PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
CURVES = {
    "straight": (curv(), CODES),
    "gamma": (curv(563), CODES ** (563 / 256)),
    "table": (curv(0, 1000, 65535), np.interp(CODES, [0, 0.5, 1], [0, 1000 / 65535, 1])),
    "power": (para(0, 1.8), CODES ** (round(1.8 * 65536) / 65536)),
    "sRGB": (
        para(3, *SRGB_PARAMETERS),
        np.where(CODES > 0.04045, ((CODES + 0.055) / 1.055) ** 2.4, CODES / 12.92),
    ),
}


def white_balanced(curve: bytes) -> dict[str, bytes]:
    return tags_of(make_profile("made", PRIMARIES, curve))


@pytest.mark.parametrize("kind", CURVES)
def test_every_kind_of_curve_is_read(kind):
    tag, expected = CURVES[kind]
    np.testing.assert_allclose(curve_of(white_balanced(tag)), expected, atol=4e-5 if kind == "sRGB" else 1e-9)


@pytest.mark.parametrize(
    "curve", [curv(563), para(3, *SRGB_PARAMETERS), para(1, 2.0, 1.1, -0.1), para(2, 2.0, 0.9, 0.1, 0.0)]
)
def test_little_cms_reads_the_same_light_from_a_curve(curve):
    made = make_profile("made", PRIMARIES, curve)
    codes = np.repeat(CODES[::257], 3).reshape(1, 256, 3)
    light = imagecodecs.cms_transform(
        codes, made, imagecodecs.cms_profile("gray", gamma=1.0), colorspace="rgb", outcolorspace="gray", intent=1
    )
    np.testing.assert_allclose(light.ravel(), curve_of(tags_of(made))[::257], atol=1e-5)


def test_equal_arguments_give_equal_bytes_that_little_cms_accepts():
    made = make_profile("A name", PRIMARIES, curv(563))
    assert made == make_profile("A name", PRIMARIES, curv(563))
    assert made[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # whenever it was made
    assert len(made) == struct.unpack(">I", made[:4])[0]
    profile = ImageCms.ImageCmsProfile(io.BytesIO(made))
    assert ImageCms.getProfileDescription(profile).strip() == name_of(made) == "A name"
    assert profile.profile.is_matrix_shaper
    assert profile.profile.red_colorant[0] == pytest.approx((0.60974, 0.31111, 0.01947), abs=1e-5)
    assert colorants_of(tags_of(made)) == PRIMARIES


def changed(made: bytes, tag: bytes, content: bytes | None) -> bytes:
    """A profile with other bytes at the beginning of a tag, or with the tag renamed."""
    entry = made.index(tag, 128)
    if content is None:
        return made[:entry] + b"none" + made[entry + 4 :]
    offset = struct.unpack(">I", made[entry + 4 : entry + 8])[0]
    return made[:offset] + content + made[offset + len(content) :]


GOOD = make_profile("good", PRIMARIES, curv(563))


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (b"", "not an ICC profile"),
        (b"II*\0" + bytes(200), "not an ICC profile"),
        (GOOD[:140], "damaged"),
        (GOOD[:-20], "damaged"),
        (changed(GOOD, b"rXYZ", None), "no primaries"),
        (changed(GOOD, b"cprt", None).replace(b"none", b"A2B0", 1), "tables"),
        (changed(GOOD, b"gXYZ", b"XYZ " + bytes(16)), "mix to white"),
        (changed(GOOD, b"gTRC", None), "no tone curve"),
        (changed(GOOD, b"gTRC", b"what"), "unknown kind"),
        (changed(GOOD, b"gTRC", b"para\0\0\0\0\0\x09"), "unknown kind"),
        (make_profile("steep", PRIMARIES, para(1, 2.0, 0.0, 0.5)), "unknown kind"),
        (make_profile("falling", PRIMARIES, curv(65535, 0)), "rise from black to white"),
        (make_profile("dim", PRIMARIES, curv(0, 40000)), "rise from black to white"),
    ],
)
def test_profiles_of_no_use_are_told_apart(profile, reason):
    with pytest.raises(ProfileError, match=reason):
        _ = [part(tags_of(profile)) for part in (colorants_of, curve_of)]


def test_three_different_curves_are_no_space_of_gray():
    tags = white_balanced(curv(563)) | {"bTRC": curv(500)}
    with pytest.raises(ProfileError, match="different tone curves"):
        curve_of(tags)
