"""Color arithmetic: agreement with scikit-image, gradients, encodings."""

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from modeling_chromagan.color import (
    COLOR_ENCODINGS,
    decode_ab,
    decode_luminance,
    encode_ab,
    encode_luminance,
    gray_to_lightness,
    lab_to_rgb,
    lightness_to_gray,
    luminance_to_unit,
    reconstruction_to_ab,
    rgb8_to_lab,
    rgb_to_lab,
)


def color_grid() -> np.ndarray:
    """A 52^3 grid of sRGB, every step 5 of 255, and the three axes in 8-bit steps: (3, 1, N) float64."""
    steps = np.linspace(0.0, 1.0, 52)
    grid = np.stack(np.meshgrid(steps, steps, steps)).reshape(3, -1)
    axes = np.concatenate([np.eye(3)[:, [channel]] * np.linspace(0.0, 1.0, 256) for channel in range(3)], axis=1)
    return np.concatenate([grid, axes], axis=1)[:, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_scikit_image_both_ways(dtype):
    rgb = color_grid()
    lab = np.moveaxis(rgb2lab(np.moveaxis(rgb, 0, -1)), -1, 0)
    assert np.abs(rgb_to_lab(torch.tensor(rgb, dtype=dtype)).numpy() - lab).max() < 1e-3
    back = np.moveaxis(lab2rgb(np.moveaxis(lab, 0, -1)), -1, 0)
    assert np.abs(lab_to_rgb(torch.tensor(lab, dtype=dtype)).numpy() - back).max() < 1e-5
    assert np.abs(lab_to_rgb(rgb_to_lab(torch.tensor(rgb, dtype=dtype))).numpy() - rgb).max() < 2e-5


def test_batch_axes_are_free():
    rgb = torch.rand(2, 4, 3, 5, 6)
    lab = rgb_to_lab(rgb)
    assert lab.shape == rgb.shape
    assert torch.allclose(lab[1, 2], rgb_to_lab(rgb[1, 2]), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_compute_in_float32(dtype):
    rgb = torch.rand(3, 8, 8).to(dtype)
    lab = rgb_to_lab(rgb)
    assert lab.dtype == dtype
    assert torch.equal(lab, rgb_to_lab(rgb.float()).to(dtype))
    assert torch.equal(lab_to_rgb(lab), lab_to_rgb(lab.float()).to(dtype))
    assert gray_to_lightness(rgb).dtype == lightness_to_gray(lab).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere(dtype):
    # Black, white, both sides of the joints, and what a network may answer outside 0..1.
    values = torch.tensor([0.0, 1.0, 0.04045, 0.0404, 0.0405, 1e-12, 0.5, -0.2, 1.3], dtype=dtype)
    rgb = torch.cartesian_prod(values, values, values).T[:, None].clone().requires_grad_()
    rgb_to_lab(rgb).sum().backward()
    assert torch.isfinite(rgb.grad).all()
    assert (rgb.grad.abs().sum(0) > 0).all()

    lightness = torch.tensor([0.0, 8.0, 7.9996, 50.0, 100.0, -5.0, 110.0], dtype=dtype)
    chroma = torch.tensor([0.0, 1e-6, -110.0, 110.0, -300.0], dtype=dtype)
    lab = torch.cartesian_prod(lightness, chroma, chroma).T[:, None].clone().requires_grad_()
    lab_to_rgb(lab).sum().backward()
    assert torch.isfinite(lab.grad).all()
    assert (lab.grad.abs().sum(0) > 0).all()


def test_gradients_match_finite_differences():
    torch.manual_seed(0)
    rgb = torch.rand(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rgb_to_lab, rgb)
    lab = rgb_to_lab(rgb.detach()).requires_grad_()
    assert torch.autograd.gradcheck(lab_to_rgb, lab)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_no_chroma_is_exactly_gray(dtype):
    lab = torch.zeros(3, 1, 4001, dtype=dtype)
    lab[0] = torch.linspace(0.0, 100.0, 4001)
    red, green, blue = lab_to_rgb(lab)
    assert torch.equal(red, green)
    assert torch.equal(green, blue)


def test_gray_and_lightness_are_inverse():
    gray = torch.linspace(0.0, 1.0, 1001, dtype=torch.float64)
    lightness = gray_to_lightness(gray)
    assert torch.allclose(lightness, rgb_to_lab(gray.expand(3, 1, -1))[0, 0])
    assert torch.allclose(lightness_to_gray(lightness), gray, atol=1e-12)
    assert lightness[[0, -1]].tolist() == pytest.approx([0.0, 100.0], abs=1e-9)


def test_encodings():
    assert COLOR_ENCODINGS == ("unit8", "symmetric")
    lightness, ab = torch.tensor([0.0, 50.0, 100.0]), torch.tensor([-110.0, 0.0, 110.0])
    assert torch.allclose(encode_luminance(lightness, "unit8"), torch.tensor([0.0, 0.5, 1.0]))
    assert torch.allclose(encode_luminance(lightness, "symmetric"), torch.tensor([-1.0, 0.0, 1.0]))
    assert torch.allclose(encode_ab(ab, "unit8"), torch.tensor([18.0, 128.0, 238.0]) / 255.0)
    assert torch.allclose(encode_ab(ab, "symmetric"), torch.tensor([-1.0, 0.0, 1.0]))
    for encoding in COLOR_ENCODINGS:
        encoded = encode_luminance(lightness, encoding)
        assert torch.allclose(decode_luminance(encoded, encoding), lightness)
        assert torch.allclose(luminance_to_unit(encoded, encoding), lightness / 100.0)
        assert torch.allclose(decode_ab(encode_ab(ab, encoding), encoding), ab, atol=1e-4)


@pytest.mark.parametrize(
    "function", [encode_luminance, decode_luminance, encode_ab, decode_ab, luminance_to_unit], ids=lambda f: f.__name__
)
def test_unknown_encoding_is_named(function):
    with pytest.raises(ValueError, match=r"'opencv'.*unit8, symmetric"):
        function(torch.zeros(1), "opencv")


@pytest.mark.parametrize("function", [rgb_to_lab, lab_to_rgb], ids=lambda f: f.__name__)
def test_wrong_input_is_shown(function):
    with pytest.raises(ValueError, match=r"\(4, 1, 8, 9\)"):
        function(torch.zeros(4, 1, 8, 9))
    with pytest.raises(ValueError, match=r"\(3, 8\)"):
        function(torch.zeros(3, 8))
    with pytest.raises(ValueError, match=r"torch\.uint8"):
        function(torch.zeros(3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("encoding", COLOR_ENCODINGS)
def test_both_kinds_of_reconstruction_give_the_same_chroma(encoding):
    rgb = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    ab = rgb_to_lab(rgb)[:, 1:]
    torch.testing.assert_close(reconstruction_to_ab(rgb, encoding), ab, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(reconstruction_to_ab(encode_ab(ab, encoding), encoding), ab, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(reconstruction_to_ab(rgb[0], encoding), ab[0], atol=1e-4, rtol=1e-5)


def test_reconstructions_carry_gradients():
    rgb = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    reconstruction_to_ab(rgb, "unit8").abs().sum().backward()
    assert (rgb.grad != 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (4, 4, 4), (2, 4)])
def test_a_reconstruction_has_two_or_three_channels(shape):
    with pytest.raises(
        ValueError, match=r"^reconstruction has shape \(.*\); accepted: \(\.\.\., 2, H, W\) encoded ab or"
    ):
        reconstruction_to_ab(torch.zeros(shape), "unit8")


def test_lab_of_8_bit_pictures_is_that_of_the_same_numbers_to_the_bit():
    values = torch.arange(256, dtype=torch.uint8)
    pictures = torch.stack([values, values.flip(0), values.roll(100)]).view(1, 3, 16, 16)
    assert torch.equal(rgb8_to_lab(pictures), rgb_to_lab(pictures.float() / 255))
    mirrored = pictures.flip(3).contiguous(memory_format=torch.channels_last)
    assert torch.equal(rgb8_to_lab(mirrored), rgb8_to_lab(pictures).flip(3))
    for wrong in (pictures.float(), pictures[0, 0]):
        with pytest.raises(ValueError, match=r"accepted: torch\.uint8"):
            rgb8_to_lab(wrong)
