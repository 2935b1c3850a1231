"""Parts of pictures: where they lie, what shape they have, how they are resized."""

import numpy as np
import pytest
import torch
from drawn_pictures import picture_bytes
from PIL import Image as PillowImage

from modeling_chromagan.sources.picture_files import decode_picture
from modeling_chromagan.training.data import crops
from modeling_chromagan.training.data.crops import DRAWN, RandomCrops, random_box
from modeling_chromagan.training.recipe import Source


def random_crops(picture, size: int | tuple[int, int], drawn, **source) -> torch.Tensor:
    """A crop of one picture for every row of numbers drawn."""
    cropped = RandomCrops(len(drawn), (size, size) if isinstance(size, int) else size)
    for place, numbers in enumerate(drawn):
        cropped.add(place, picture, Source(path="x", **source), numbers)
    return cropped.finish()


def test_crops_stay_inside_and_sometimes_mirror():
    ramp = np.zeros((40, 60, 3), dtype=np.uint8)
    ramp[..., 0] = np.arange(60) * 4
    picture = PillowImage.fromarray(ramp)
    crops = random_crops(picture, 32, np.random.default_rng(0).random((40, DRAWN)), min_crop=0.6)
    assert crops.shape == (40, 3, 32, 32)
    mirrored = [crop[0, :, 0].float().mean() > crop[0, :, -1].float().mean() for crop in crops]
    assert 8 < sum(mirrored) < 32
    assert len({int(crop[0].int().sum()) for crop in crops}) > 20


def test_crops_of_many_sizes_stand_at_their_own_places(monkeypatch):
    """Those of one size are resized together, and no more wait than the limit allows."""
    pictures = [PillowImage.new("RGB", (40 + 3 * (i % 4), 44), (10 * i, 0, 255 - 10 * i)) for i in range(20)]
    source = Source(path="x", min_crop=0.5)
    for limit in (2**22, 5 * 40 * 40):
        monkeypatch.setattr(crops, "WAITING_PIXELS", limit)
        cropped = RandomCrops(len(pictures), (32, 48))
        for place, picture in enumerate(pictures):
            cropped.add(place, picture, source, np.random.default_rng(place % 7).random(DRAWN))
            assert cropped.pixels < limit
        expected = torch.tensor([(10 * i, 0, 255 - 10 * i) for i in range(20)])
        assert (cropped.finish() == expected[:, :, None, None]).all()


@pytest.mark.parametrize("size", [20, 32, 57])
def test_crops_are_resized_as_pillow_does(size):
    picture = decode_picture({"bytes": picture_bytes(2, size=(48, 40))})
    for drawn, box in (((1, 0, 0, 1), (0, 0, 40, 40)), ((0, 1 - 1e-9, 1 - 1e-9, 1), (28, 20, 48, 40))):
        expected = np.asarray(picture.crop(box).resize((size, size), PillowImage.Resampling.BICUBIC))
        expected = torch.from_numpy(expected.copy()).permute(2, 0, 1)
        for mirror in (False, True):
            (crop,) = random_crops(picture, size, [(*drawn[:3], 1 - mirror, 1, 0.5)], min_crop=0.5)
            difference = ((crop.flip(2) if mirror else crop).int() - expected.int()).abs()
            assert difference.max() <= 2
            assert difference.float().mean() < 0.1


def boxes(size: tuple[int, int], shape: tuple[int, int], **source) -> np.ndarray:
    """Left, top, right, bottom of a thousand crops."""
    drawn = np.random.default_rng(0).random((1000, DRAWN))
    return np.array([random_box(size, shape, Source(path="x", **source), numbers) for numbers in drawn])


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (300, 300), (1200, 310)])
@pytest.mark.parametrize("shape", [(192, 256), (256, 192), (160, 160)])
def test_crops_have_the_proportions_of_the_batch_and_reach_every_edge(size, shape):
    left, top, right, bottom = boxes(size, shape, min_crop=0.5).T
    assert left.min() == top.min() == 0
    assert (right.max(), bottom.max()) == size
    assert np.abs((right - left) / (bottom - top) / (shape[1] / shape[0]) - 1).max() < 0.01
    largest = min(size[0] / shape[1], size[1] / shape[0])
    shares = (bottom - top) / shape[0] / largest
    assert 0.49 < shares.min() < 0.52
    assert 0.98 < shares.max() < 1.01


def test_the_largest_crop_is_as_frequent_as_the_source_says():
    left, _, right, _ = boxes((400, 300), (192, 256), min_crop=0.5, largest_crop=0.35).T
    assert ((left == 0) & (right == 400)).mean() == pytest.approx(0.35, abs=0.04)


def test_stretched_crops_change_their_proportions_both_ways():
    left, top, right, bottom = boxes((400, 300), (192, 256), min_crop=0.5, stretch=0.15).T
    assert left.min() == top.min() == 0
    assert (right.max(), bottom.max()) == (400, 300)
    change = np.log((right - left) / (bottom - top) / (256 / 192))
    assert change.min() == pytest.approx(-0.3, abs=0.02)
    assert change.max() == pytest.approx(0.3, abs=0.02)
    assert abs(np.median(change)) < 0.02
