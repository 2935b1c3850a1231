"""Rows of tables: their seeded order, and folders of pictures as tables."""

import pytest
from drawn_pictures import make_dataset, picture_bytes, write_parquet

from modeling_chromagan.errors import SettingError
from modeling_chromagan.sources.picture_collections import CollectionError, find_collection
from modeling_chromagan.training.data.found_source import FoundSource
from modeling_chromagan.training.data.table_rows import TableRows, open_table
from modeling_chromagan.training.recipe import Source


def labelled_rows(seed: int, **options) -> TableRows:
    return TableRows(make_dataset([b""] * 12, labels=[0, 1, 2] * 4).add_column("number", range(12)), seed, **options)


def numbers_at(rows: TableRows, positions) -> list[int]:
    return [row["number"] for row in rows.rows(positions)]


def test_every_row_once_per_epoch_in_a_new_order():
    rows = labelled_rows(3)
    epochs = [numbers_at(rows, range(12 * epoch, 12 * epoch + 12)) for epoch in range(2)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert numbers_at(labelled_rows(3), [17]) == [epochs[1][5]], "a position needs none before it"
    assert numbers_at(labelled_rows(4), range(12)) != epochs[0]
    assert numbers_at(rows, []) == []


def test_only_chosen_rows_come():
    rows = labelled_rows(0, numbers=[2, 5, 7])
    assert len(rows) == 3
    assert sorted(numbers_at(rows, range(3))) == [2, 5, 7]
    assert {row["number"] for row in rows.replacements(0)} == {2, 5, 7}


def test_replacements_are_those_of_the_position():
    rows = labelled_rows(0)
    drawn = [[row["number"] for row in rows.replacements(position)] for position in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert len(drawn[0]) == 99


def test_wrong_columns_and_splits_are_named(tmp_path):
    write_parquet(tmp_path, [picture_bytes(i) for i in range(4)])
    collection = find_collection(str(tmp_path))
    with pytest.raises(SettingError, match=r"^data\.sources\.x\.image_column is 'photo'; accepted: one of image$"):
        open_table(FoundSource("x", Source(path="x", image_column="photo"), collection), "train")
    with pytest.raises(SettingError, match=r"^data\.sources\.x\.label_column is 'label'; accepted: one of image$"):
        open_table(FoundSource("x", Source(path="x", use_labels=True), collection), "train")
    with pytest.raises(CollectionError, match=r", split 'test' is none; accepted: train$"):
        open_table(FoundSource("x", Source(path="x"), collection), "test")


def test_a_split_of_a_folder_is_one_of_its_sub_folders(tmp_path):
    for i, name in enumerate(["a.png", "train/b.png", "held/c.png", "held/deep/d.png"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture_bytes(i))
    collection = find_collection(str(tmp_path))
    assert len(open_table(FoundSource("x", Source(path="x"), collection), "train")) == 4
    held = open_table(FoundSource("x", Source(path="x"), collection), "held")
    assert [cell["path"] for cell in held["image"]] == [f"{tmp_path}/held/{name}.png" for name in ("c", "deep/d")]
    with pytest.raises(CollectionError, match="no sub-folder 'none'; accepted: train, which is all of its pictures"):
        open_table(FoundSource("x", Source(path="x"), collection), "none")


def test_folders_name_classes_only_where_they_are_asked_to(tmp_path):
    for i, name in enumerate(["cat/1.png", "dog/1.png", "dog/2.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture_bytes(i))
    collection = find_collection(str(tmp_path))
    table = open_table(FoundSource("x", Source(path="x", use_labels=True), collection), "train")
    assert table.features["label"].names == ["cat", "dog"]
    assert table["label"][:] == [0, 1, 1]
    assert open_table(FoundSource("x", Source(path="x"), collection), "train").column_names == ["image"]
    (tmp_path / "loose.png").write_bytes(picture_bytes(3))
    with pytest.raises(CollectionError, match=r"loose\.png lies in no sub-folder"):
        open_table(FoundSource("x", Source(path="x", use_labels=True), collection), "train")
