"""What becomes of pixels before a network sees them: looks of old scans, and its units."""

import pytest
import torch

from modeling_chromagan.color import encode_ab, rgb_to_lab
from modeling_chromagan.training.data.augmentation import RowRandom, degrade, to_network_units
from modeling_chromagan.training.recipe import Degradation

FAULTS = ["half_size", "third_size", "gamma", "fade", "contrast", "blur", "grain", "vignette", "frame"]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_degradation_changes_luminance_and_keeps_colors(fault):
    rgb = torch.randint(0, 256, (16, 3, 32, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    lab = rgb_to_lab(rgb.float() / 255)
    degraded = degrade(lab, Degradation(**{fault: 1.0}), RowRandom(1, len(lab)))
    assert torch.isfinite(degraded).all()
    assert degraded[:, 0].min() >= 0
    assert degraded[:, 0].max() <= 100
    assert ((degraded - lab)[:, 0].abs().flatten(1).amax(1) > 0.5).sum() >= 12
    if fault == "frame":
        changed = (degraded[:, 1:] != lab[:, 1:]).any(dim=1)
        assert (degraded[:, 1:][changed[:, None].expand(-1, 2, -1, -1)] == 0).all()
        assert not changed[:, 4:-4, 6:-6].any(), "at most an eighth of a side"
    else:
        assert torch.equal(degraded[:, 1:], lab[:, 1:])
    untouched = degrade(lab, Degradation(), RowRandom(1, len(lab)))
    torch.testing.assert_close(untouched, lab, atol=1e-3, rtol=0)


def test_network_units_are_those_of_the_encoding():
    rgb = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    lab = rgb_to_lab(rgb.float() / 255)
    luminance, ab = to_network_units(rgb, "unit8")
    torch.testing.assert_close(luminance, lab[:, :1] / 100)
    torch.testing.assert_close(ab, encode_ab(lab[:, 1:], "unit8"))
    assert to_network_units(rgb, "symmetric")[0].min() < 0


def gray(lightness: torch.Tensor | float) -> torch.Tensor:
    """Lab pictures of one lightness each, or of a map of them, (B, 3, 32, 48)."""
    lab = torch.zeros(200, 3, 32, 48)
    lab[:, 0] = lightness
    return lab


def test_the_strength_of_degradations_is_the_recipes():
    def degraded(lightness, **settings):
        return degrade(gray(lightness), Degradation(**settings), RowRandom(0, 200))[:, 0]

    assert degraded(0, fade=1).amax() == pytest.approx(15, abs=0.3)
    assert degraded(0, fade=1, fade_black=40).amax() == pytest.approx(40, abs=0.8)
    assert degraded(100, fade=1).amin() == pytest.approx(80, abs=0.3)
    assert degraded(100, fade=1, fade_white=60).amin() == pytest.approx(60, abs=0.8)
    middle = degraded(50, gamma=1)
    assert middle.amax() == pytest.approx(100 * 0.5**0.7, abs=0.5)
    assert middle.amin() == pytest.approx(100 * 0.5**1.4, abs=0.5)
    assert degraded(50, gamma=1, gamma_exponents=(0.5, 0.5)) == pytest.approx(100 * 0.5**0.5)
    assert degraded(50, grain=1).flatten(1).std(1).amax() == pytest.approx(4, abs=0.2)
    assert degraded(50, grain=1, grain_strength=8).flatten(1).std(1).amax() == pytest.approx(8, abs=0.4)
    assert degraded(70, contrast=1).amax() == pytest.approx(80, abs=0.3)
    assert degraded(70, contrast=1, contrast_strength=1).amax() == pytest.approx(90, abs=0.5)
    uneven = degraded(60, vignette=1)
    assert uneven[:, 0, 0].amin() == pytest.approx(30, abs=0.6)
    assert uneven[:, 16, 24].amin() > 59
    assert degraded(60, vignette=1, vignette_strength=0.1)[:, 0, 0].amin() == pytest.approx(48, abs=0.3)


@pytest.mark.parametrize(("fault", "width"), [("half_size", 2), ("third_size", 3)])
def test_a_smaller_scan_has_lost_stripes_of_its_pixels_and_kept_wide_ones(fault, width):
    columns = torch.arange(48)
    fine, wide = 100.0 * (columns % 2), 100.0 * (columns >= 24)
    settings, random = Degradation(**{fault: 1}), RowRandom(0, 200)
    assert degrade(gray(wide), settings, random)[0, 0, 16, 4:-4:30] == pytest.approx(wide[4:-4:30])
    assert degrade(gray(fine), settings, random)[0, 0].diff(dim=1).abs().amax() < 100 / width + 1


def test_a_degradation_that_is_off_leaves_the_others_as_they_were():
    """Whoever adds one to a recipe changes that one alone, not what the random numbers of the others are."""
    lab = gray(torch.linspace(0, 100, 48))
    before = degrade(lab, Degradation(fade=0.5, grain=0.5), RowRandom(3, 200))
    strong = {"contrast_strength": 1, "vignette_strength": 0.5}
    assert torch.equal(degrade(lab, Degradation(fade=0.5, grain=0.5, **strong), RowRandom(3, 200)), before)
    assert not Degradation(**strong).probable
    assert all(Degradation(**{fault: 0.1}).probable for fault in FAULTS)
