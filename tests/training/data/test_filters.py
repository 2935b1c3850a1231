"""Filters: pictures without color to learn from are told from the others."""

import numpy as np
import pytest
import torch
from drawn_pictures import picture_bytes
from PIL import Image as PillowImage

from modeling_chromagan.color import rgb_to_lab
from modeling_chromagan.evaluation.metrics import colorfulness
from modeling_chromagan.sources.picture_files import decode_picture
from modeling_chromagan.training.data.filters import failed_filter, hue_deviation
from modeling_chromagan.training.recipe import Data


def with_tint(number: int, tint: tuple[float, float, float], mix: float = 1.0) -> PillowImage.Image:
    """A picture whose colors are replaced, as far as `mix` says, by one tint of its gray values."""
    color = decode_picture({"bytes": picture_bytes(number, size=(48, 40))})
    gray = np.asarray(color.convert("L"), dtype=float)[..., None]
    toned = np.clip(gray * np.array(tint), 0, 255)
    return PillowImage.fromarray((mix * toned + (1 - mix) * np.asarray(color)).round().astype(np.uint8))


def test_filters_name_what_fails_them():
    settings = Data(sources={})
    assert failed_filter(with_tint(1, (1, 1, 1)), settings) == "grayscale"
    assert failed_filter(with_tint(1, (1, 1, 1), mix=0.97), settings) == "almost gray"
    assert failed_filter(with_tint(1, (1.1, 0.95, 0.75)), settings) == "toned"
    assert failed_filter(with_tint(1, (1.1, 0.95, 0.75), mix=0.3), settings) is None
    assert failed_filter(with_tint(1, (1, 1, 1)).resize((64, 31)), settings) == "tiny"


def test_thresholds_are_settings():
    gray, toned = with_tint(1, (1, 1, 1)), with_tint(1, (1.1, 0.95, 0.75))
    assert failed_filter(gray, Data(sources={}, min_colorfulness=0)) is None
    assert failed_filter(toned, Data(sources={}, min_hue_deviation=0)) is None
    assert failed_filter(toned, Data(sources={}, min_colorfulness=60)) == "almost gray"
    assert failed_filter(with_tint(1, (0.5, 1, 1), 0.3), Data(sources={}, min_side=41)) == "tiny"


def test_a_picture_near_the_threshold_is_measured_whole():
    """Most are judged by a sixteenth of their pixels: here those are a little over the threshold, the whole is not."""
    pixels = np.asarray(with_tint(1, (1, 1, 1), mix=0.7)).copy()
    pixels[1::4] = pixels[1::4].mean(axis=2, keepdims=True).round()  # gray rows that the sixteenth does not see
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    seen, measured = float(colorfulness(whole[..., ::4, ::4])), float(colorfulness(whole))
    assert measured < seen
    assert failed_filter(PillowImage.fromarray(pixels), Data(sources={}, min_colorfulness=(seen + measured) / 2)) == (
        "almost gray"
    )


def test_hue_deviation_is_that_of_the_circle():
    """Against the formula; neither the strength of the colors nor pixels without color count."""
    colors = np.array([[[190, 120, 120], [120, 120, 200]]], dtype=np.uint8)
    pixels = torch.from_numpy(colors).permute(2, 0, 1)[None]
    a, b = rgb_to_lab(pixels.float() / 255)[0, 1:].flatten(1).T.double().numpy()
    resultant = np.linalg.norm(a / np.linalg.norm(a) + b / np.linalg.norm(b)) / 2
    assert hue_deviation(pixels).item() == pytest.approx(np.degrees(np.sqrt(-2 * np.log(resultant))), rel=1e-4)
    with_gray = torch.cat([pixels, torch.full_like(pixels, 90)], dim=3)
    assert hue_deviation(with_gray).item() == pytest.approx(hue_deviation(pixels).item(), rel=1e-6)
    assert hue_deviation(torch.full((1, 3, 4, 4), 90, dtype=torch.uint8)).item() == np.inf
    assert hue_deviation(pixels[..., :1]).item() == pytest.approx(0, abs=0.1)
