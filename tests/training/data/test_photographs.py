"""Pictures that fail a filter are replaced and counted, in tables and in streams."""

import io

import numpy as np
import pytest
import torch
from drawn_pictures import make_dataset, picture_bytes, write_row_groups
from PIL import Image as PillowImage
from streams import row_numbers, streamed_photographs

from modeling_chromagan.errors import SettingError
from modeling_chromagan.training.data import crops, photographs
from modeling_chromagan.training.data.batches import BatchPlan
from modeling_chromagan.training.data.photographs import Photographs
from modeling_chromagan.training.data.table_rows import TableRows
from modeling_chromagan.training.recipe import Batches, Data, Source


def test_unsuitable_pictures_are_replaced_and_counted():
    bad = [picture_bytes(100, "L"), b"no picture at all", picture_bytes(101)[:200], picture_bytes(102, size=(48, 20))]
    good = [picture_bytes(i) for i in range(4)]
    photographs = Photographs(TableRows(make_dataset(bad + good)), Source(path="x"), Data(sources={}))
    allowed = {np.asarray(PillowImage.open(io.BytesIO(content))).tobytes() for content in good}
    for position in range(8):
        picture, label = photographs.picture(position)
        assert picture.tobytes() in allowed
        assert label == -1
    assert dict(photographs.rejected) == {"broken": 2, "tiny": 1, "grayscale": 1, "almost gray": 0, "toned": 0}


def test_nothing_but_gray_pictures_ends_with_one_line():
    photographs = Photographs(TableRows(make_dataset([picture_bytes(0, "L")])), Source(path="here"), Data(sources={}))
    with pytest.raises(SettingError, match="here: 100 pictures in a row are unsuitable, the last one grayscale"):
        photographs.picture(0)


@pytest.fixture(scope="module")
def partly_unfit(tmp_path_factory):
    """Three row groups of ten; the first has five pictures that are of no use."""
    folder = tmp_path_factory.mktemp("unfit")
    bad = [
        picture_bytes(0, "L"),
        picture_bytes(1, "L"),
        b"none",
        picture_bytes(3)[:99],
        picture_bytes(4, size=(40, 31)),
    ]
    write_row_groups(folder / "train.parquet", bad + [picture_bytes(i) for i in range(25)])
    return folder / "train.parquet"


def test_skipped_places_are_taken_within_the_row_group_and_counted(partly_unfit):
    photographs = streamed_photographs(partly_unfit)
    order = photographs.rows.order
    numbers = row_numbers(order, range(30))
    for position, number in enumerate(numbers):
        label = photographs.picture(position)[1]
        assert label == number if number >= 5 else 5 <= label < 10
        if number < 5:  # the next good one in the seeded order of its group
            own = order.within(0, 0).tolist()
            following = own[own.index(number) :] + own[: own.index(number)]
            assert label == next(row for row in following if row >= 5)
    assert dict(photographs.rejected) == {"broken": 2, "tiny": 1, "grayscale": 2, "almost gray": 0, "toned": 0}


def test_counts_of_data_workers_arrive(partly_unfit):
    photographs = streamed_photographs(partly_unfit)
    plan = BatchPlan({"tiny": photographs}, [Batches(size=32, batch_size=10, weights={"tiny": 1})], 3, 0, 0, 1)
    list(torch.utils.data.DataLoader(plan, batch_size=None, num_workers=2))
    assert dict(photographs.rejected) == {"broken": 2, "tiny": 1, "grayscale": 2, "almost gray": 0, "toned": 0}


def test_a_row_group_without_a_good_picture_ends_with_one_line(tmp_path):
    write_row_groups(tmp_path / "train.parquet", [picture_bytes(i, "L") for i in range(4)])
    with pytest.raises(SettingError, match="4 pictures in a row are unsuitable, the last one grayscale"):
        streamed_photographs(tmp_path / "train.parquet").picture(0)


def test_how_many_pictures_are_judged_together_changes_nothing_and_is_bounded(monkeypatch):
    """Gray pictures among them; photographs of many megapixels would not fit into memory a batch at a time."""
    gray = PillowImage.fromarray(np.full((40, 48, 3), 90, dtype=np.uint8))
    content = io.BytesIO()
    gray.save(content, "PNG")
    cells = [content.getvalue() if i % 3 == 0 else picture_bytes(i) for i in range(12)]
    judged = []

    def batch():
        source = Photographs(TableRows(make_dataset(cells)), Source(path="one"), Data(sources={}))
        judged.clear()
        return BatchPlan({"one": source}, [Batches(size=32, batch_size=12, weights={"one": 1})], 1, 0, 0, 1)[0], dict(
            source.rejected
        )

    original = photographs.failed_filters
    monkeypatch.setattr(
        photographs, "failed_filters", lambda pictures, *of: judged.append(len(pictures)) or original(pictures, *of)
    )
    together, rejected = batch()
    assert max(judged) == 12
    monkeypatch.setattr(photographs, "READ_AHEAD_PIXELS", 3 * 48 * 40)
    monkeypatch.setattr(crops, "WAITING_PIXELS", 5 * 40 * 40)
    in_parts, rejected_in_parts = batch()
    assert max(judged) == 3
    assert torch.equal(together["rgb"], in_parts["rgb"])
    assert rejected == rejected_in_parts
    assert rejected["grayscale"] == 4
