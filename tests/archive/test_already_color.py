"""Whether a picture is in color already, or gray with a tone, stains and marks."""

import numpy as np
import pytest
from encoded_pictures import random_gray, random_rgb
from PIL import Image

from modeling_chromagan.archive.already_color import WEIGHTS, color_features, shows_color
from modeling_chromagan.image_loading import load_color

SIZE = (240, 180)
OFF_THE_LINE = 8  # of the features: how far the mean color lies off the line from sepia to cyanotype


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
        turning = gray[..., None] * ((1 - share) * (0.6, 0.75, 1.0) + share * (1.0, 0.8, 0.5))
        evidence.append(np.dot(WEIGHTS, color_features(picture(turning))))
    assert evidence == sorted(evidence)
    assert evidence[-1] > evidence[0] + 3


def test_colors_that_change_where_lightness_does_speak_for_colors():
    """Things have edges in both at once; stains have edges of their own."""
    random = np.random.default_rng(0)
    gray, reddish = (np.kron(random.choice(levels, (4, 6)), np.ones((45, 40))) for levels in ((0.3, 0.7), (-1, 1)))
    things, stains = (
        np.dot(WEIGHTS, color_features(picture(gray[..., None] + 0.03 * place[..., None] * (1, 0, -1))))
        for place in (reddish, np.roll(reddish, (22, 20), axis=(0, 1)))
    )
    assert things > stains + 1


def test_a_cast_of_purple_or_green_speaks_for_colors():
    """Dyes of slides fade so, but no process tones gray photographs so."""
    gray = photograph().mean(axis=2, keepdims=True)
    sepia_brown, blue, purple, green = (
        color_features(picture(gray + np.array(cast) * gray * (1 - gray)))[OFF_THE_LINE]
        for cast in ((0.4, 0.1, -0.5), (-0.3, 0.0, 0.5), (0.3, -0.3, 0.5), (-0.3, 0.2, -0.1))
    )
    assert min(purple, green) > max(sepia_brown, blue) + 0.5
    assert WEIGHTS[OFF_THE_LINE] > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_dark_slide_that_lost_its_yellow_is_in_color_and_a_cyanotype_is_not(seed):
    colors = photograph(seed)
    gray = colors.mean(axis=2, keepdims=True)
    slide = 0.25 * (gray + 0.07 * (colors - gray)) * (0.9, 0.75, 1.0) + (0.02, 0.03, 0.1)
    assert shows_color(picture(slide))
    cyanotype = (-0.4, 0.03, 0.4) + (1.32, 0.92, 0.58) * gray ** (1.8, 1.3, 0.8)
    assert not shows_color(picture(cyanotype))


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
    assert all(slides)  # one of a blue sea under a blue sky and a white boat, too
    old = [shows_color(load_color(path)) for path in sorted((photos / "oldbw").glob("*.jpg"))]
    assert len(old) == 10
    assert not any(old)
