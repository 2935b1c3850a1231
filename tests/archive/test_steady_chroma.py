"""Colors of frames that do not flicker."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiff_files import photograph

from modeling_chromagan.archive.steady_chroma import find_scenes, steady_chroma

SHAPE = (64, 96)


def flickering(count: int, seed: int = 0, strength: float = 6.0) -> list[torch.Tensor]:
    """One color field, to which every frame adds a cast and blotches of its own, as predictions by frame do."""
    random = np.random.default_rng(seed)
    field = random.normal(0, 20, (2, 4, 6))
    planes = []
    for _ in range(count):
        noisy = field + random.normal(0, strength, (2, 1, 1)) + random.normal(0, strength, field.shape)
        planes.append(torch.nn.functional.interpolate(torch.tensor(noisy[None]), SHAPE, mode="bilinear")[0].float())
    return planes


def flicker(planes: list[torch.Tensor]) -> float:
    """Mean change of color from frame to frame."""
    return float(np.mean([(after - before).norm(dim=0).mean() for before, after in pairwise(planes)]))


def test_what_stands_still_has_one_color():
    chroma = flickering(12)
    steady = steady_chroma([photograph(1)] * 12, chroma)
    assert flicker(steady) < 1e-4 * flicker(chroma)
    assert (steady[0] - torch.stack(chroma).mean(dim=0)).abs().max() < 1e-3


def test_noise_of_the_film_does_not_bring_the_flicker_back():
    random, still = np.random.default_rng(3), photograph(1) / 255
    grays = [(still + random.normal(0, 0.02, SHAPE)).clip(0, 1) for _ in range(40)]
    chroma = flickering(40)
    assert flicker(steady_chroma(grays, chroma)) < 0.02 * flicker(chroma)


def test_a_cut_does_not_bleed():
    first, second = flickering(5, 1, 0.0), flickering(5, 2, 0.0)
    grays = [photograph(1)] * 5 + [photograph(2)] * 5
    assert find_scenes([torch.tensor(gray / 255) for gray in grays]) == [(0, 5), (5, 10)]
    for found, wanted in zip(steady_chroma(grays, first + second), first + second, strict=True):
        assert (found - wanted).abs().max() < 1e-3


def test_what_moves_keeps_its_color_and_leaves_none_behind():
    grays, chroma = [], []
    for number in range(9):
        gray, planes = np.full(SHAPE, 40, np.uint8), torch.zeros(2, *SHAPE)
        gray[:, ::7] = 60
        at = slice(20, 36), slice(10 * number, 10 * number + 14)
        gray[at], planes[:, at[0], at[1]] = 220, 50.0
        grays.append(gray), chroma.append(planes)
    for steady, planes in zip(steady_chroma(grays, chroma), chroma, strict=True):
        inside, outside = planes[0] > 0, planes[0] == 0
        assert steady[0][inside].mean() > 45
        assert steady[0][outside].mean() < 1


def test_frames_between_those_that_colors_are_taken_from_keep_what_is_theirs_alone():
    grays, chroma = [photograph(1)] * 60, [torch.zeros(2, *SHAPE)] * 60
    grays[31] = photograph(1).copy()
    grays[31][20:40, 30:60] = grays[31][20:40, 30:60] + np.uint8(128)  # wraps around
    chroma[31] = torch.full((2, *SHAPE), 30.0)
    steady = steady_chroma(grays, chroma)[31]
    assert steady[0, 25:35, 35:55].mean() > 20
    assert steady[0, :, 80:].max() < 2


def test_grays_of_any_depth_and_flat_frames():
    deep = photograph(1).astype(np.uint16) * 257
    chroma = flickering(3)
    for one, other in zip(steady_chroma([photograph(1)] * 3, chroma), steady_chroma([deep] * 3, chroma), strict=True):
        torch.testing.assert_close(one, other)
    black = np.zeros(SHAPE, np.uint8)
    assert find_scenes([torch.zeros(SHAPE), torch.zeros(SHAPE), torch.tensor(photograph(1) / 255)]) == [(0, 2), (2, 3)]
    assert len(steady_chroma([black, black], chroma[:2])) == 2
    assert steady_chroma([], []) == []


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="one size"):
        steady_chroma([photograph(1)], [torch.zeros(2, 3, 3)])
    with pytest.raises(ValueError, match="argument 2"):
        steady_chroma([photograph(1)], [])
