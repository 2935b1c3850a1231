"""Collections of pictures are found by name, and say in one line what they lack."""

import pytest
from datasets import Image
from datasets.exceptions import DatasetNotFoundError
from drawn_pictures import make_dataset, picture_bytes, write_parquet
from range_server import serve

from modeling_chromagan.sources.picture_collections import CollectionError, DataSet, PictureFolder, find_collection


def test_a_folder_is_all_of_its_pictures(tmp_path):
    """Whatever they are called: `datasets` takes names like these for splits, and then there is no other."""
    names = ["ADE_val_001.jpg", "deep/er/validation.png", "dev.png", "eval.png", "test.png", "train/2.PNG"]
    for name in [*names, ".hidden/y.png", ".z.png", "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    collection = find_collection(str(tmp_path))
    assert isinstance(collection, PictureFolder)
    assert [str(file.relative_to(tmp_path)) for file in collection.files()] == names


def test_every_table_of_a_folder_without_a_card_is_read(tmp_path):
    """`datasets` itself takes those that follow its pattern, and passes over the others."""
    write_parquet(tmp_path, [picture_bytes(i) for i in range(4)])
    for i, name in enumerate(("train-things", "more")):
        table = make_dataset([picture_bytes(10 + i)]).cast_column("image", Image())
        table.to_parquet(tmp_path / "data" / f"{name}.parquet")
    write_parquet(tmp_path, [picture_bytes(20)], split="valid")
    collection = find_collection(str(tmp_path))
    assert collection.splits() == ["train", "valid"]
    assert [file.rpartition("/")[2] for file in collection.files("train")] == [
        "more.parquet",
        "train-00000-of-00001.parquet",
        "train-things.parquet",
    ]
    assert len(collection.load("train")) == 6
    assert len(list(collection.stream("train"))) == 6


def test_a_card_says_which_files_are_a_split(tmp_path):
    write_parquet(tmp_path, [picture_bytes(i) for i in range(4)])
    write_parquet(tmp_path, [picture_bytes(4)], split="more")
    files = "  - split: everything\n    path: data/*.parquet\n"
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")
    collection = find_collection(str(tmp_path))
    assert collection.splits() == ["everything"]
    assert len(collection.files("everything")) == 2


def test_a_parquet_file_is_every_split(tmp_path):
    write_parquet(tmp_path, [picture_bytes(i) for i in range(4)], labels=[0, 1, 2, 0])
    file = str(tmp_path / "data" / "train-00000-of-00001.parquet")
    collection = find_collection(file)
    assert collection.splits() is None
    assert collection.files("valid") == [file]
    assert len(collection.load("valid")) == len(list(collection.stream("valid"))) == 4


def test_an_address_is_its_parquet_files_of_a_split(tmp_path, monkeypatch):
    for name in ("train-0.parquet", "train-1.parquet", "valid-0.parquet", "training.parquet"):
        (tmp_path / name).write_bytes(b"")
    with serve(tmp_path, monkeypatch) as server:
        server.index_faults = [503]
        collection = find_collection(server.url, tries=2)
        assert collection.files("train") == [f"{server.url}train-{number}.parquet" for number in range(2)]
        assert collection.splits() is None
        server.index_faults = [403] * 9
        with pytest.raises(CollectionError, match=rf"^{server.url}: HTTP status 403$"):
            collection.files("train")
        assert len(server.index_faults) == 8, "a refusal is not asked for again"
        server.index_faults = []
        with pytest.raises(CollectionError, match="is an address; accepted: a training source with streaming: true"):
            collection.load("train")


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(CollectionError, match="holds no pictures; accepted: parquet files or pictures"):
        find_collection(str(tmp_path)).files()


@pytest.mark.parametrize("name", ["{}/none", "./none", "~/none", "a/b/c", "none.parquet"])
def test_a_path_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(CollectionError, match="there is no such folder or file; accepted: one that is there"):
        find_collection(name.format(tmp_path))


def test_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CollectionError, match="file is a file; accepted: a folder, a parquet file or a Hub id"):
        find_collection(str(tmp_path / "file"))


def test_a_split_that_is_none_is_named(tmp_path):
    write_parquet(tmp_path, [picture_bytes(1)])
    for open_split in (DataSet.files, DataSet.load, DataSet.stream):
        with pytest.raises(CollectionError, match=r"^/[^ ]*, split 'test' is none; accepted: train$"):
            open_split(find_collection(str(tmp_path)), "test")


def test_a_data_set_out_of_reach_is_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CollectionError, match=r"^nobody/nothing: ") as caught:
        find_collection("nobody/nothing").splits()
    assert "\n" not in str(caught.value)


def test_a_gated_data_set_names_the_token(monkeypatch):
    def refuse(path):
        raise DatasetNotFoundError(
            "Dataset 'ILSVRC/imagenet-1k' is a gated dataset on the Hub. You must be authenticated to access it."
        )

    monkeypatch.setattr("datasets.load_dataset_builder", refuse)
    with pytest.raises(CollectionError, match=r"^ILSVRC/imagenet-1k: gated on the Hub: no access; accepted: HF_TOKEN"):
        find_collection("ILSVRC/imagenet-1k").files("train")
