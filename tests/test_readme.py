"""What the README shows works: its Python blocks run, on the packaged weights, and give color."""

import re

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from modeling_chromagan import PACKAGED_WEIGHTS, ChromaGANPipeline

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


def chroma_spread(picture: Image.Image) -> float:
    return float(np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=2).mean())


def test_there_are_blocks():
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("block", BLOCKS, ids=["pipeline", "parts"])
def test_python_block_colorizes(block, tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block, names)
    with Image.open(ROOT / "examples" / "saratoga-1900-1915.jpg") as original:
        assert names["picture"].size == original.size
    assert chroma_spread(names["picture"]) > 5


@pytest.mark.parametrize(
    ("name", "area", "channel"),
    [
        ("LC-USF34-058042.jpg", (0.3, 0.08, 0.7, 0.25), "blue"),  # the sky
        ("LC-USF33-012448.jpg", (0.20, 0.48, 0.32, 0.62), "red"),  # a pumpkin
    ],
)
def test_packaged_weights_know_a_sky_and_a_pumpkin(name, area, channel):
    picture = ChromaGANPipeline.from_pretrained(PACKAGED_WEIGHTS)(str(ROOT / "examples" / name))
    left, top, right, bottom = (
        round(share * side) for share, side in zip(area, (picture.width, picture.height) * 2, strict=True)
    )
    red, _, blue = np.asarray(picture.crop((left, top, right, bottom)).convert("RGB")).reshape(-1, 3).mean(axis=0)
    assert (blue - red if channel == "blue" else red - blue) > 10
