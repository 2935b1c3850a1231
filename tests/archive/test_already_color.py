"""Whether a picture is in color already, or gray with a tone, stains and marks."""

import numpy as np
import pytest
from encoded_pictures import random_gray, random_rgb
from PIL import Image

from modeling_chromagan.archive.already_color import WEIGHTS, color_features, shows_color
from modeling_chromagan.image_loading import load_color

SIZE = (240, 180)


def photograph(seed=0) -> np.ndarray:
    """Shapes in many colors, (h, w, 3) of 0..1."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)) / 255


def sepia(gray: np.ndarray) -> np.ndarray:
    return np.stack([0.1 + 0.9 * gray**0.85, 0.06 + 0.87 * gray, 0.03 + 0.75 * gray**1.2], axis=-1)


def picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))


def test_colors_show_and_a_tone_does_not():
    assert shows_color(Image.fromarray(random_rgb()))
    gray = np.dstack([random_gray()] * 3)
    assert not shows_color(Image.fromarray(gray))
    assert not shows_color(Image.fromarray((gray * (1.0, 0.85, 0.6)).astype(np.uint8)))


@pytest.mark.parametrize("seed", range(4))
def test_faded_and_muted_colors_are_colors(seed):
    colors = photograph(seed)
    gray = colors.mean(axis=2, keepdims=True)
    assert shows_color(picture(colors))
    assert shows_color(picture(gray + 0.4 * (colors - gray)))
    assert shows_color(picture(0.25 + 0.5 * colors * (1.1, 0.9, 0.7)))  # as dyes fade, each by itself


def test_a_tone_that_turns_within_few_levels_speaks_for_colors():
    """A blue sky behind white clouds: every lightness has its color, but toning is smooth."""
    gray = photograph().mean(axis=2)
    evidence = []
    for width in (0.2, 0.1, 0.03, 0.01):
        share = 1 / (1 + np.exp((0.5 - gray[..., None]) / width))
        turning = gray[..., None] * ((1 - share) * (0.45, 0.6, 1.0) + share * (1.0, 0.8, 0.5))
        evidence.append(np.dot(WEIGHTS, color_features(picture(turning))))
    assert evidence == sorted(evidence)
    assert evidence[-1] > evidence[0] + 6


@pytest.mark.parametrize("seed", range(4))
def test_a_stain_a_stamp_and_a_color_target_do_not_make_a_color_picture(seed):
    toned = sepia(photograph(seed).mean(axis=2))
    y, x = np.mgrid[: 1 : SIZE[1] * 1j, : 1 : SIZE[0] * 1j]
    stained = toned * (1 - np.stack([0.05 * x, 0.15 * x * y, 0.3 * x * y], axis=-1))
    assert not shows_color(picture(stained))
    stamped = toned.copy()
    stamped[80:92, 100:130] = (0.7, 0.15, 0.2)
    assert not shows_color(picture(stamped))
    target = toned.copy()
    target[-16:] = np.repeat([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)], 60, axis=0)[None]
    assert not shows_color(picture(target))


def test_real_slides_are_in_color_and_old_photographs_are_not(data_root):
    photos = data_root / "photos"
    slides = [shows_color(load_color(path)) for path in sorted((photos / "documerica").glob("*.jpg"))]
    assert len(slides) == 10
    assert sum(slides) >= 9  # one is of a blue sea under a blue sky and a white boat
    old = [shows_color(load_color(path)) for path in sorted((photos / "oldbw").glob("*.jpg"))]
    assert len(old) == 10
    assert not any(old)
