"""Streamed rows: one mixed order for everybody, from a bounded pool of row groups."""

import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn_pictures import CLASS_NAMES, picture_bytes, write_row_groups
from streams import labels_at, open_rows, row_numbers

from modeling_chromagan.errors import SettingError
from modeling_chromagan.sources.picture_collections import CollectionError, find_collection
from modeling_chromagan.training.data.parquet_files import LARGEST_POOL, ParquetFiles, RowGroups
from modeling_chromagan.training.data.shuffled_stream import PooledOrder, StreamedRows, class_names
from modeling_chromagan.training.recipe import Data

UNIFORM = 94.7  # distinct ones of 200 classes among 128 pictures drawn uniformly


@pytest.mark.parametrize("pool", [1, 4, 9])
def test_every_row_once_per_epoch_in_a_new_order(pool):
    order = PooledOrder(np.array([10, 10, 3, 10, 1, 10, 10, 7, 10]), pool, seed=5)
    epochs = [row_numbers(order, range(71 * epoch, 71 * epoch + 71)).tolist() for epoch in range(3)]
    assert all(sorted(epoch) == list(range(71)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert row_numbers(PooledOrder(order.rows, pool, seed=6), range(71)).tolist() != epochs[0]
    assert order.within(0, 1).tolist() != order.within(1, 1).tolist()


def test_a_position_needs_none_before_it():
    rows = np.random.default_rng(0).integers(1, 30, 40)
    whole = PooledOrder(rows, 6, seed=1)
    positions = [0, 17, whole.total - 1, whole.total, 5 * whole.total + 100]
    straight = row_numbers(whole, range(whole.total))
    for position in positions:
        alone = row_numbers(PooledOrder(rows, 6, seed=1), [position])
        assert alone == row_numbers(whole, [position])
    assert row_numbers(PooledOrder(rows, 6, seed=1), [17]) == straight[17]


def test_rows_come_from_a_pool_that_changes_by_one_group():
    order = PooledOrder(np.full(30, 50), 8, seed=0)
    groups = np.array([order.at(position)[0] for position in range(order.total)])
    for start in range(0, 1500, 50):
        mixed = len(set(groups[start : start + 50]))  # a slot has 50 rows, a few more or less by rounding
        assert 8 <= mixed <= 9, "from the first rows of an epoch to its last"
    for group in range(30):
        places = np.flatnonzero(groups == group)
        gaps = np.diff(np.append(places, places[0] + 1500))
        assert 1500 - gaps.max() <= 8 * 50 + 10, "a group's rows lie within its stretch, on the circle"
        dropped = {order.at(int(place))[2] for place in places}
        assert len(dropped) <= 2


def distinct_classes(labels: np.ndarray) -> np.ndarray:
    batches = labels[: len(labels) // 128 * 128].reshape(-1, 128)
    return np.array([len(np.unique(batch)) for batch in batches])


def test_a_sorted_data_set_is_mixed():
    order = PooledOrder(np.full(100, 1000), 70, seed=0)
    found = distinct_classes(row_numbers(order, range(25_600)) // 500)
    assert found.mean() >= 0.85 * UNIFORM
    assert np.sort(found)[: len(found) // 20].mean() >= 0.75 * UNIFORM
    alone = distinct_classes(row_numbers(PooledOrder(order.rows, 1, seed=0), range(25_600)) // 500)
    assert alone.mean() < 5


def test_tiny_imagenet_is_mixed_by_the_default_pool(data_root):
    pool_bytes = Data(sources={}).pool_mebibytes * 2**20
    rows = open_rows(data_root / "tiny-imagenet", LARGEST_POOL, pool_bytes=pool_bytes)
    files = rows.files.files
    labels = np.concatenate([pq.read_table(file, columns=["label"])["label"].to_numpy() for file in files])
    assert (np.diff(labels) >= 0).all(), "sorted by class"
    found = distinct_classes(labels[row_numbers(rows.order, range(len(rows)))])
    print(f"{rows.describe()}; distinct classes: {found.mean():.1f}, worst 5 %: {np.sort(found)[:39].mean():.1f}")
    assert len(rows) == 100_000
    assert found.mean() >= 0.85 * UNIFORM


def test_a_resumed_run_reads_the_pool_only(stream_folder):
    whole = labels_at(open_rows(stream_folder), range(90))
    late = open_rows(stream_folder)
    assert labels_at(late, range(60, 66)) == whole[60:66]
    assert late.groups_read <= 4


@pytest.mark.parametrize("times", [1, 10])
def test_start_takes_no_longer_than_the_metadata(times):
    """ImageNet-1k as the Hub has it: 1,281,167 rows of about 110 kB, a hundred to a row group."""
    count = 12_812 * times
    sizes = np.random.default_rng(0).integers(8 * 2**20, 13 * 2**20, count)
    groups = RowGroups(np.zeros(count, dtype=int), np.arange(count), np.full(count, 100), sizes)
    started = time.process_time()
    rows = StreamedRows(None, groups, 0, 256 * 2**20)
    rows.order.at(len(rows) // 2)
    assert time.process_time() - started < 1
    assert rows.order.pool * sizes.max() <= 256 * 2**20
    assert f"mixed from {rows.order.pool} groups at a time" in rows.describe()


def test_a_row_group_larger_than_the_pool_is_said(stream_folder):
    rows = open_rows(stream_folder, pool_bytes=100)
    assert rows.order.pool == 1
    assert "warning: one row group takes more than data.pool_mebibytes" in rows.describe()
    assert sorted(labels_at(rows, range(90))) == list(range(90))


def test_first_rows_of_a_stream(stream_folder):
    rows = open_rows(stream_folder, max_samples=25)
    assert len(rows) == 25
    assert sorted(labels_at(rows, range(25))) == list(range(25))


def test_reading_goes_through_the_groups_once(stream_folder):
    rows = open_rows(stream_folder, pool=3)
    assert sorted(labels_at(rows, range(90))) == list(range(90))
    assert rows.groups_read == 10, "all of them still fit"
    small = open_rows(stream_folder, pool=3, pool_bytes=int(6.5 * rows.groups.sizes.max()))
    assert labels_at(small, range(90)) == labels_at(rows, range(90))
    assert 10 <= small.groups_read <= 12, "two of them lie on both sides of the epoch's end"
    assert small.held_bytes <= small.pool_bytes


def test_memory_does_not_grow_with_the_data(tmp_path):
    write_row_groups(tmp_path / "train.parquet", [picture_bytes(i % 9) for i in range(100)])
    held = []
    for times in (1, 10):
        files = ParquetFiles("tiny", [str(tmp_path / "train.parquet")] * times, ["image", "label"], 1)
        groups = files.row_groups()
        rows = StreamedRows(files, groups, 0, 8 * int(groups.sizes.max()))
        most = 0
        for position in range(0, len(rows), 3):
            next(rows.candidates(position))
            most = max(most, rows.held_bytes)
        held.append(most)
        assert rows.order.pool == 6, rows.describe()
        assert most <= rows.pool_bytes
    assert len(rows) == 1000
    assert held[1] <= 1.1 * held[0]


def test_another_takes_a_place_within_its_row_group(stream_folder):
    rows = open_rows(stream_folder)
    (first,) = labels_at(rows, [4])
    others = [row["label"] for row in rows.replacements(4)]
    assert sorted([first, *others]) == list(range(first // 10 * 10, first // 10 * 10 + 10))


def test_names_of_classes_come_from_the_files(stream_folder):
    rows = open_rows(stream_folder)
    assert class_names(rows.files, find_collection(str(stream_folder)), "label") == CLASS_NAMES
    assert class_names(rows.files, find_collection(str(stream_folder)), "image") is None


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"image_column": "photo"}, r"image_column is 'photo'; accepted: one of image, label"),
        ({"label_column": "class"}, r"label_column is 'class'; accepted: one of image, label"),
    ],
)
def test_wrong_columns_are_named(stream_folder, change, line):
    with pytest.raises(SettingError, match=rf"^data\.sources\.tiny\.{line}$"):
        open_rows(stream_folder, **change)


def test_folders_of_pictures_are_not_streamed(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "1.png").write_bytes(picture_bytes(1))
    with pytest.raises(CollectionError, match=r"is not made of parquet files; accepted: streaming: false$"):
        open_rows(tmp_path)
