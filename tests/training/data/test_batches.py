"""Batches are a function of seed and step, whoever reads them."""

import pytest
import torch
from drawn_pictures import make_dataset, picture_bytes
from streams import streamed_photographs

from modeling_chromagan.errors import SettingError
from modeling_chromagan.training.data.batches import BatchPlan
from modeling_chromagan.training.data.photographs import Photographs
from modeling_chromagan.training.data.table_rows import TableRows
from modeling_chromagan.training.recipe import Batches, Data, Source


def plan(ranks=1, rank=0, **kinds) -> BatchPlan:
    sources = {
        name: Photographs(
            TableRows(make_dataset([picture_bytes(100 * k + i) for i in range(10)]), seed=k),
            Source(path=name, min_crop=0.5),
            Data(sources={}),
        )
        for k, name in enumerate(("one", "two"))
    }
    kinds = [
        Batches(size=32, batch_size=8, weights={"one": 0.75, "two": 0.25}),
        Batches(size=64, batch_size=2, weights={"two": 1}),
    ]
    return BatchPlan(sources, kinds, steps=10, seed=0, rank=rank, ranks=ranks)


def test_a_batch_depends_on_its_step_alone():
    straight = plan()
    batches = [straight[step] for step in range(5)]
    torch.testing.assert_close(plan()[4]["rgb"], batches[4]["rgb"], rtol=0, atol=0)
    assert batches[0]["rgb"].shape == (8, 3, 32, 32)
    assert batches[1]["rgb"].shape == (2, 3, 64, 64)
    assert (batches[0]["kind"], batches[1]["kind"]) == (0, 1)
    assert not torch.equal(batches[0]["rgb"], batches[2]["rgb"])


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


def streamed_plan(folder, rank: int = 0, ranks: int = 1) -> BatchPlan:
    kinds = [Batches(size=32, batch_size=12, weights={"tiny": 1}), Batches(size=64, batch_size=6, weights={"tiny": 1})]
    return BatchPlan({"tiny": streamed_photographs(folder)}, kinds, 10, seed=0, rank=rank, ranks=ranks)


def test_processes_and_workers_share_one_order(stream_folder):
    """Two processes of two data workers see together what one process sees, every picture once per epoch."""
    plan = streamed_plan(stream_folder)
    whole = [plan[step] for step in range(len(plan))]
    assert sorted(torch.cat([batch["label"] for batch in whole]).tolist()) == list(range(90))
    shares = [
        list(torch.utils.data.DataLoader(streamed_plan(stream_folder, rank, 2), batch_size=None, num_workers=2))
        for rank in range(2)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        rgb, labels = torch.empty_like(batch["rgb"]), torch.empty_like(batch["label"])
        for part in parts:
            rgb[part["rows"]], labels[part["rows"]] = part["rgb"], part["label"]
        assert torch.equal(rgb, batch["rgb"])
        assert torch.equal(labels, batch["label"])
