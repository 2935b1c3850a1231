"""The named protocols: sizes, and which pictures they take."""

import numpy as np
import pytest
from PIL import Image

from modeling_chromagan.evaluation.protocols import PROTOCOLS


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack((x, y, np.full_like(x, 80)), axis=2).astype(np.uint8))


def test_every_protocol_gives_its_size():
    picture = gradient(80, 60)
    sizes = {name: protocol.fit(picture).size for name, protocol in PROTOCOLS.items() if name != "tiny64"}
    assert sizes == {
        "tiny224": (224, 224),
        "val5k": (256, 256),
        "stretch256": (256, 256),
        "native": (80, 60),
        "legacy-tiny224": (224, 224),
    }
    with pytest.raises(ValueError, match="is 80x60; tiny64 accepts 64x64"):
        PROTOCOLS["tiny64"].fit(picture)
    square = gradient(64, 64)
    assert PROTOCOLS["tiny64"].fit(square) is square


def test_cropping_loses_the_sides_and_stretching_nothing():
    picture = gradient(400, 200)
    cropped, stretched = (np.asarray(PROTOCOLS[name].fit(picture)) for name in ("val5k", "stretch256"))
    assert cropped[128, 0, 0] == pytest.approx(64, abs=2)  # a quarter of the width is gone on either side
    assert cropped[128, -1, 0] == pytest.approx(191, abs=2)
    assert cropped[0, 128, 1] < 2
    assert stretched[128, 0, 0] < 2
    assert stretched[128, -1, 0] > 253


def test_only_the_legacy_protocol_takes_gray_pictures_and_only_val5k_ends_early():
    assert [name for name, protocol in PROTOCOLS.items() if not protocol.min_colorfulness] == ["legacy-tiny224"]
    assert {name: protocol.first for name, protocol in PROTOCOLS.items() if protocol.first} == {"val5k": 5000}
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())
