"""Batches are a function of seed and step; unsuitable pictures are passed over and counted."""

import io

import numpy as np
import pytest
import torch
from drawn_pictures import make_dataset, picture_bytes
from PIL import Image as PillowImage

from modeling_chromagan.color import rgb_to_lab
from modeling_chromagan.errors import SettingError
from modeling_chromagan.evaluation.metrics import colorfulness
from modeling_chromagan.sources.picture_files import decode_picture
from modeling_chromagan.training.data import batches, crops
from modeling_chromagan.training.data.batches import BatchPlan, Photographs
from modeling_chromagan.training.data.filters import find_flaw, hue_deviation
from modeling_chromagan.training.recipe import Batches, Data, Source


def test_every_picture_once_per_epoch_in_a_new_order():
    data = make_dataset([picture_bytes(i) for i in range(12)], labels=[i % 3 for i in range(12)])
    photographs = Photographs(data, Source(path="x", use_labels=True), Data(sources={}), seed=3)
    epochs = [[np.asarray(photographs.picture(12 * e + i)[0]).tobytes() for i in range(12)] for e in range(2)]
    assert len(set(epochs[0])) == 12
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]
    again = Photographs(data, Source(path="x", use_labels=True), Data(sources={}), seed=3)
    assert np.asarray(again.picture(17)[0]).tobytes() == epochs[1][5]


def test_unsuitable_pictures_are_replaced_and_counted():
    bad = [picture_bytes(100, "L"), b"no picture at all", picture_bytes(101)[:200], picture_bytes(102, size=(48, 20))]
    good = [picture_bytes(i) for i in range(4)]
    photographs = Photographs(make_dataset(bad + good), Source(path="x"), Data(sources={}), seed=0)
    allowed = {np.asarray(PillowImage.open(io.BytesIO(content))).tobytes() for content in good}
    for position in range(8):
        picture, label = photographs.picture(position)
        assert picture.tobytes() in allowed
        assert label == -1
    assert dict(photographs.rejected) == {"broken": 2, "tiny": 1, "grayscale": 1, "almost gray": 0, "toned": 0}


def test_nothing_but_gray_pictures_ends_with_one_line():
    photographs = Photographs(make_dataset([picture_bytes(0, "L")]), Source(path="here"), Data(sources={}), seed=0)
    with pytest.raises(SettingError, match="here: 100 pictures in a row are unsuitable, the last one grayscale"):
        photographs.picture(0)


def with_tint(number: int, tint: tuple[float, float, float], mix: float = 1.0) -> PillowImage.Image:
    """A picture whose colors are replaced, as far as `mix` says, by one tint of its gray values."""
    color = decode_picture({"bytes": picture_bytes(number, size=(48, 40))})
    gray = np.asarray(color.convert("L"), dtype=float)[..., None]
    toned = np.clip(gray * np.array(tint), 0, 255)
    return PillowImage.fromarray((mix * toned + (1 - mix) * np.asarray(color)).round().astype(np.uint8))


def test_flaws_are_found_and_named():
    settings = Data(sources={})
    assert find_flaw(with_tint(1, (1, 1, 1)), settings) == "grayscale"
    assert find_flaw(with_tint(1, (1, 1, 1), mix=0.97), settings) == "almost gray"
    assert find_flaw(with_tint(1, (1.1, 0.95, 0.75)), settings) == "toned"
    assert find_flaw(with_tint(1, (1.1, 0.95, 0.75), mix=0.3), settings) is None
    assert find_flaw(with_tint(1, (1, 1, 1)).resize((64, 31)), settings) == "tiny"


def test_thresholds_of_flaws_are_settings():
    gray, toned = with_tint(1, (1, 1, 1)), with_tint(1, (1.1, 0.95, 0.75))
    assert find_flaw(gray, Data(sources={}, min_colorfulness=0)) is None
    assert find_flaw(toned, Data(sources={}, min_hue_deviation=0)) is None
    assert find_flaw(toned, Data(sources={}, min_colorfulness=60)) == "almost gray"
    assert find_flaw(with_tint(1, (0.5, 1, 1), 0.3), Data(sources={}, min_side=41)) == "tiny"


def test_a_picture_near_the_threshold_is_measured_whole():
    """Most are judged by a sixteenth of their pixels: here those are a little over the threshold, the whole is not."""
    pixels = np.asarray(with_tint(1, (1, 1, 1), mix=0.7)).copy()
    pixels[1::4] = pixels[1::4].mean(axis=2, keepdims=True).round()  # gray rows that the sixteenth does not see
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    seen, measured = float(colorfulness(whole[..., ::4, ::4])), float(colorfulness(whole))
    assert measured < seen
    assert find_flaw(PillowImage.fromarray(pixels), Data(sources={}, min_colorfulness=(seen + measured) / 2)) == (
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


def plan(ranks=1, rank=0, **kinds) -> BatchPlan:
    sources = {
        name: Photographs(
            make_dataset([picture_bytes(100 * k + i) for i in range(10)]),
            Source(path=name, min_crop=0.5),
            Data(sources={}),
            seed=k,
        )
        for k, name in enumerate(("one", "two"))
    }
    batches = [
        Batches(size=32, batch_size=8, weights={"one": 0.75, "two": 0.25}),
        Batches(size=64, batch_size=2, weights={"two": 1}),
    ]
    return BatchPlan(sources, batches, steps=10, seed=0, rank=rank, ranks=ranks)


def test_a_batch_depends_on_its_step_alone():
    straight = plan()
    batches = [straight[step] for step in range(5)]
    torch.testing.assert_close(plan()[4]["rgb"], batches[4]["rgb"], rtol=0, atol=0)
    assert batches[0]["rgb"].shape == (8, 3, 32, 32)
    assert batches[1]["rgb"].shape == (2, 3, 64, 64)
    assert (batches[0]["kind"], batches[1]["kind"]) == (0, 1)
    assert not torch.equal(batches[0]["rgb"], batches[2]["rgb"])


def test_how_many_pictures_are_judged_together_changes_nothing_and_is_bounded(monkeypatch):
    """Flawed pictures among them; photographs of many megapixels would not fit into memory a batch at a time."""
    gray = PillowImage.fromarray(np.full((40, 48, 3), 90, dtype=np.uint8))
    content = io.BytesIO()
    gray.save(content, "PNG")
    cells = [content.getvalue() if i % 3 == 0 else picture_bytes(i) for i in range(12)]
    judged = []

    def batch():
        source = Photographs(make_dataset(cells), Source(path="one"), Data(sources={}))
        judged.clear()
        return BatchPlan({"one": source}, [Batches(size=32, batch_size=12, weights={"one": 1})], 1, 0, 0, 1)[0], dict(
            source.rejected
        )

    original = batches.find_flaws
    monkeypatch.setattr(
        batches, "find_flaws", lambda pictures, *of: judged.append(len(pictures)) or original(pictures, *of)
    )
    together, rejected = batch()
    assert max(judged) == 12
    monkeypatch.setattr(batches, "READ_AHEAD_PIXELS", 3 * 48 * 40)
    monkeypatch.setattr(crops, "WAITING_PIXELS", 5 * 40 * 40)
    in_parts, rejected_in_parts = batch()
    assert max(judged) == 3
    assert torch.equal(together["rgb"], in_parts["rgb"])
    assert rejected == rejected_in_parts
    assert rejected["grayscale"] == 4


def test_processes_share_a_batch_without_overlap():
    whole = plan()[2]["rgb"]
    parts = torch.cat([plan(ranks=2, rank=rank)[2]["rgb"] for rank in range(2)])
    key = [picture.numpy().tobytes() for picture in whole]
    assert sorted(key) == sorted(picture.numpy().tobytes() for picture in parts)


def test_sources_keep_their_shares_and_an_epoch_shows_every_picture_once():
    """Whatever kinds of batches draw from a source: they go through one order of it, one after the other."""
    batches = plan()
    batches.kinds = [
        Batches(size=32, batch_size=7, weights={"one": 0.75, "two": 0.25}),
        Batches(size=64, batch_size=3, weights={"one": 0.1, "two": 0.9}),
    ]
    steps = [batches.places(step) for step in range(200)]
    assert [len(places) for places in steps] == [7, 3] * 100
    assert sum(name == "two" for places in steps[::2] for name, _ in places) == 175
    assert sum(name == "two" for places in steps[1::2] for name, _ in places) == 270
    for source in ("one", "two"):
        positions = [position for places in steps for name, position in places if name == source]
        assert positions == list(range(len(positions)))


def test_batches_have_the_shape_of_their_kind():
    batches = plan()
    batches.kinds = [
        Batches(size=shape, batch_size=4, weights={"one": 1, "two": 1}) for shape in ((32, 48), (48, 32), 40)
    ]
    assert [batches[step]["rgb"].shape[2:] for step in range(4)] == [(32, 48), (48, 32), (40, 40), (32, 48)]
    for source in batches.photographs.values():
        source.source = source.source.model_copy(update={"stretch": 0.15, "largest_crop": 0.35})
    parts = []
    for rank in range(2):
        batches.rank, batches.ranks = rank, 2
        parts.append(batches[0]["rgb"])
    batches.rank, batches.ranks = 0, 1
    whole = batches[0]
    key = [picture.numpy().tobytes() for picture in whole["rgb"]]
    assert key[0::2] + key[1::2] == [picture.numpy().tobytes() for picture in torch.cat(parts)]


def test_batch_size_must_divide():
    with pytest.raises(SettingError, match="batch_size is 8; accepted: a multiple of the 3 processes"):
        plan(ranks=3)
