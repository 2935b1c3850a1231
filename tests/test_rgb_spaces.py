"""Colors that keep the luminance of gray pixels, in every depth and space, and in the gamut."""

import math

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from modeling_chromagan.color import LUMINANCE_WEIGHTS, gray_to_lightness, lab_to_rgb
from modeling_chromagan.composition import compose
from modeling_chromagan.rgb_spaces import SRGB, RGBSpace, lab_to_rgb8


def reduced_gray(rgb8: torch.Tensor) -> torch.Tensor:
    """sRGB-coded luminance in 8-bit units, written independently of the package: (..., 3, H, W) -> (..., H, W)."""
    coded = rgb8.double() / 255.0
    linear = torch.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)
    luminance = sum(weight * linear[..., channel, :, :] for channel, weight in enumerate(LUMINANCE_WEIGHTS))
    return 255.0 * torch.where(luminance > 0.0031308, 1.055 * luminance ** (1 / 2.4) - 0.055, luminance * 12.92)


def test_values_that_are_not_finite_are_refused():
    lab = torch.zeros(3, 2, 2)
    lab[1, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        lab_to_rgb8(lab)


def test_wrong_input_is_shown():
    with pytest.raises(ValueError, match=r"\(4, 1, 8, 9\)"):
        lab_to_rgb8(torch.zeros(4, 1, 8, 9))
    with pytest.raises(ValueError, match=r"torch\.uint8"):
        lab_to_rgb8(torch.zeros(3, 8, 8, dtype=torch.uint8))


def fitted(lab: torch.Tensor) -> torch.Tensor:
    """sRGB of Lab colors (3, H, W), 0..1; of those outside of it, as much chroma as fits in, by bisection."""
    lab = lab.double()
    inside, outside = torch.zeros_like(lab[0]), torch.ones_like(lab[0])
    scale = outside
    for _ in range(13):  # to 1 / 4096, as it is done
        rgb = lab_to_rgb(torch.stack((lab[0], lab[1] * scale, lab[2] * scale)))
        fits = ((rgb > -1.3e-5) & (rgb < 1 + 5e-7)).all(0)
        inside, outside = torch.where(fits, scale, inside), torch.where(fits, outside, scale)
        scale = (inside + outside) / 2
    return lab_to_rgb(torch.stack((lab[0], lab[1] * inside, lab[2] * inside)))


CHROMA = {
    "faint": lambda size: torch.randn(2, *size),
    "natural": lambda size: torch.randn(2, *size) * 20.0,
    "anything": lambda size: (torch.rand(2, *size) * 2.0 - 1.0) * 110.0,
    "saturated": lambda size: 110.0 * torch.stack([(angle := torch.rand(size) * 2.0 * math.pi).cos(), angle.sin()]),
    "corners": lambda size: torch.randint(0, 2, (2, *size)) * 220.0 - 110.0,
}


@pytest.mark.parametrize("chroma", CHROMA)
def test_every_gray_value_survives(chroma):
    torch.manual_seed(0)
    gray = torch.arange(256, dtype=torch.float64)[:, None].expand(256, 400)
    lightness = gray_to_lightness(gray / 255.0)
    lab = torch.cat((lightness[None], CHROMA[chroma](gray.shape).double())).float()
    rgb8 = lab_to_rgb8(lab)
    assert rgb8.dtype == torch.uint8
    reduced = reduced_gray(rgb8)
    assert (reduced.round() != gray).sum() == 0
    assert (gray_to_lightness(reduced / 255.0) - lightness).abs().max() <= 0.26
    # The color is the one meant, as far as sRGB holds its chroma, no channel more than a level off; of a few colors on
    # the border single precision takes a step of chroma more.
    assert ((rgb8 - 255.0 * fitted(lab)).abs() >= 1.0).sum() <= 5
    # scikit-image, too, measures no more than that.
    measured = rgb2lab(rgb8.permute(1, 2, 0).numpy()[::5, ::7])[..., 0]
    assert np.abs(measured - lightness[::5, ::7].numpy()).max() <= 0.26


def test_nearest_rounding_would_lose_gray_values():
    """The guarantee is not vacuous: the test above sees what plain rounding and plain clipping lose."""
    torch.manual_seed(0)
    gray = torch.arange(256, dtype=torch.float64)[:, None].expand(256, 2000)
    lab = torch.cat((gray_to_lightness(gray / 255.0)[None], CHROMA["natural"](gray.shape)))
    nearest = fitted(lab).mul(255.0).round().clamp(0, 255)
    clipped = lab_to_rgb(lab).mul(255.0).round().clamp(0, 255)
    assert (reduced_gray(nearest).round() != gray).sum() > 0
    assert (reduced_gray(clipped).round() != gray).sum() > 1000
    assert (reduced_gray(lab_to_rgb8(lab)).round() != gray).sum() == 0


def test_fine_gray_survives_to_half_a_level():
    torch.manual_seed(0)
    gray = torch.rand(256, 256, dtype=torch.float64)
    lab = torch.cat((gray_to_lightness(gray)[None], CHROMA["anything"](gray.shape)))
    assert (reduced_gray(lab_to_rgb8(lab)) - gray * 255.0).abs().max() <= 0.501


def test_neutral_gray_is_written_unchanged():
    gray = torch.arange(256)[None]
    lab = torch.stack((gray_to_lightness(gray / 255.0), torch.zeros(1, 256), torch.zeros(1, 256)))
    assert torch.equal(lab_to_rgb8(lab), gray.byte().expand(3, 1, 256))


def test_batches_and_lightness_beyond_its_range_are_written():
    lab = torch.tensor([[-3.0, 40.0, -10.0], [104.0, 0.0, 30.0]])[:, :, None, None]
    assert lab_to_rgb8(lab).flatten(1).tolist() == [[0, 0, 0], [255, 255, 255]]


def power_space(gamma: float) -> RGBSpace:
    """A space of wide primaries, adapted to another white, with a pure power for its curve."""
    mixing = ((2.012, -0.3277, 0.0), (-0.9989, 0.0587, 0.0), (-0.0156, 1.0317, 0.0))
    weights = (0.3111, 0.6257, 0.0632)
    # As in every space, what chroma adds has no luminance of its own.
    shift = [sum(weight * row[i] for weight, row in zip(weights, mixing, strict=True)) for i in range(2)]
    mixing = tuple((x - shift[0], z - shift[1], 0.0) for x, z, _ in mixing)

    def decode(code: torch.Tensor) -> torch.Tensor:
        return torch.where(code < 0, code, code.clamp(min=0) ** gamma)

    return RGBSpace(f"power {gamma}", mixing, weights, decode, lambda linear: linear.clamp(min=0) ** (1 / gamma))


def coded_luminance(space: RGBSpace, rgb: np.ndarray) -> np.ndarray:
    """The code 0..1 of the luminance of (H, W, 3) codes 0..1, in double precision."""
    linear = space.decode(torch.from_numpy(rgb)).numpy()
    return space.encode(torch.from_numpy(linear @ np.array(space.weights))).numpy()


SPACES = {"sRGB": SRGB, "gamma 2.2": power_space(2.2), "gamma 1.8": power_space(1.8)}
DEEP_CHROMA = CHROMA | {"tiny": lambda size: torch.randn(2, *size) * 0.01}


@pytest.mark.parametrize("chroma", DEEP_CHROMA)
@pytest.mark.parametrize("name", SPACES)
def test_all_gray_values_of_16_bits_survive_within_a_step(name, chroma):
    torch.manual_seed(0)
    space = SPACES[name]
    gray = np.arange(65536, dtype=np.uint16)[:, None].repeat(12, axis=1)
    colors = compose(gray, DEEP_CHROMA[chroma]((1, 12)), depth=16, space=space, coding=space)
    assert colors.dtype == np.uint16
    assert np.abs(coded_luminance(space, colors / 65535) * 65535 - gray).max() < 0.75


def test_the_luminance_of_16_bits_is_that_of_the_sRGB_formulas():
    gray = np.arange(65536, dtype=np.uint16)[:, None].repeat(4, axis=1)
    colors = compose(gray, torch.tensor([[[30.0]], [[-20.0]]]), depth=16)
    planes = torch.from_numpy(colors.astype(np.float64) / 257.0).permute(2, 0, 1)
    assert np.abs(reduced_gray(planes).numpy() * 257 - gray).max() < 0.75
    assert (colors[1000:60000, :, 0] > colors[1000:60000, :, 1]).all()  # and it is in color


@pytest.mark.parametrize("chroma", CHROMA)
@pytest.mark.parametrize("name", SPACES)
def test_every_8_bit_gray_value_survives_in_every_space(name, chroma):
    torch.manual_seed(0)
    space = SPACES[name]
    gray = np.arange(256, dtype=np.uint8)[:, None].repeat(400, axis=1)
    colors = compose(gray, CHROMA[chroma]((1, 400)), space=space, coding=space)
    assert np.array_equal(np.rint(coded_luminance(space, colors / 255) * 255), gray)


@pytest.mark.parametrize("depth", [8, 16])
def test_gray_of_srgb_is_recoded_in_another_space(depth):
    space, white = SPACES["gamma 2.2"], 2**depth - 1
    gray = np.arange(0, 65536, 5, dtype=np.uint16)[:, None].repeat(8, axis=1)
    coded = gray / 65535
    linear = np.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)
    expected = linear ** (1 / 2.2) * white
    colors = compose(
        gray, torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0)) * 20, depth=depth, space=space
    )
    assert np.abs(coded_luminance(space, colors / white) * white - expected).max() < (0.501 if depth == 8 else 0.75)
    neutral = compose(gray, torch.zeros(2, 1, 1), depth=depth, space=space)
    assert (neutral == neutral[..., :1]).all()
    assert np.abs(neutral - expected[..., None]).max() < 0.51


def test_wide_spaces_hold_colors_that_srgb_does_not():
    gray, ab = np.full((1, 1), 140, np.uint8), torch.tensor([[[-90.0]], [[60.0]]])
    in_srgb = compose(gray, ab)[0, 0].astype(int)
    assert in_srgb.min() == 0  # on the border of sRGB, where a green of the space's own is not
    wide = compose(gray, ab, space=SPACES["gamma 2.2"])[0, 0].astype(int)
    assert wide.min() > 0
