"""The pictures an evaluation reads: order, kinds of sources, what is broken."""

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from drawn_pictures import picture_bytes, sideways, sunset, swapped, write_parquet
from peak_memory import measure_alone, needs_peaks
from PIL import Image

from modeling_chromagan.evaluation.pictures import PictureSource, evenly_spaced, open_source, read_pictures
from modeling_chromagan.evaluation.protocols import PROTOCOLS
from modeling_chromagan.sources.picture_collections import CollectionError

NATIVE = PROTOCOLS["native"]


def flat(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (200, 100, 80))


def write_valid(folder: Path, pictures: list, batch_size: int | None = None) -> Path:
    """A data set of one split `valid`, `batch_size` rows to a row group."""
    (folder / "data").mkdir(parents=True)
    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"image": pictures}, features=features)
    rows.to_parquet(folder / "data" / "valid-00000-of-00001.parquet", batch_size=batch_size)
    return folder


def test_samples_come_from_the_whole_split():
    assert list(evenly_spaced(10, 4)) == [0, 2, 5, 7]
    assert list(evenly_spaced(3, 9)) == list(evenly_spaced(3, None)) == [0, 1, 2]


def test_a_folder_of_pictures_is_read_in_the_order_of_names(tmp_path):
    for name in ("b/2.png", "a.png", "b/1.jpg", ".hidden/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        flat(20, 30).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    source = open_source(str(tmp_path), "valid")
    pictures = list(read_pictures(source, NATIVE))
    assert [picture.name for picture in pictures] == ["a.png", "b/1.jpg", "b/2.png"]
    assert source.count() == 3
    assert pictures[0].rgb.shape == (3, 30, 20)
    assert pictures[0].label == -1
    assert [picture.name for picture in read_pictures(open_source(str(tmp_path), "b"), NATIVE)] == [
        "1.jpg",
        "2.png",
    ]


@pytest.mark.parametrize("name", ["ADE_val_001.jpg", "test.png", "dev/1.png", "eval.png", "train/validation.png"])
def test_a_folder_is_all_of_its_pictures(tmp_path, name):
    """Whatever they are called: `datasets` takes names like these for splits, and then there is no other."""
    names = sorted([name, "other.png"])
    for number, path in enumerate(names):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(picture_bytes(number))
    assert [picture.name for picture in read_pictures(open_source(str(tmp_path), "valid"), NATIVE)] == names


@pytest.mark.parametrize("save", [sideways, swapped])
@pytest.mark.parametrize("kind", ["folder", "table"])
def test_pictures_are_upright_and_in_srgb(tmp_path, save, kind):
    if kind == "folder":
        (tmp_path / "1.jpg").write_bytes(save(sunset()))
    else:
        write_parquet(tmp_path, [save(sunset())], split="valid")
    (picture,) = read_pictures(open_source(str(tmp_path), "valid"), NATIVE)
    assert picture.rgb[:, 4, 20].tolist() == pytest.approx((60, 110, 200), abs=8)
    assert picture.rgb[:, -4, 20].tolist() == pytest.approx((200, 130, 60), abs=8)


def test_chosen_rows_of_parquet_are_those_of_the_whole(tmp_path):
    pictures = [Image.new("RGB", (64, 64), (number, 100, 0)) for number in range(7)]
    source = open_source(str(write_valid(tmp_path / "set", pictures)), "valid")
    assert source.count() == 7
    for _ in range(2):  # a source can be read again
        read = list(read_pictures(source, PROTOCOLS["tiny64"], [1, 5]))
        assert [(picture.index, int(picture.rgb[0, 0, 0])) for picture in read] == [(1, 1), (5, 5)]


def test_a_parquet_file_is_every_split(tmp_path):
    write_parquet(tmp_path, [picture_bytes(i) for i in range(3)], labels=[2, 0, 1])
    source = open_source(str(tmp_path / "data" / "train-00000-of-00001.parquet"), "valid")
    assert source.count() == 3
    assert source.class_names == ["first", "second", "third"]
    assert [picture.label for picture in read_pictures(source, NATIVE)] == [2, 0, 1]


def test_broken_pictures_are_named_and_passed_over(tmp_path):
    flat(64, 64).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    flat(64, 64).save(tmp_path / "3.jpg")
    (tmp_path / "3.jpg").write_bytes((tmp_path / "3.jpg").read_bytes()[:500])
    flat(9, 64).save(tmp_path / "4.png")
    flat(64, 64).save(tmp_path / "5.png")
    told = []
    source = open_source(str(tmp_path), "valid")
    read = list(read_pictures(source, NATIVE, on_broken=lambda *words: told.append(words)))
    assert [picture.name for picture in read] == ["1.png", "5.png"]
    assert [name for name, _ in told] == ["2.png", "3.jpg", "4.png"]
    assert "9x64; accepted: 16 pixels a side" in told[2][1]


def test_sources_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(CollectionError, match="holds no pictures; accepted: parquet files or pictures"):
        open_source(str(tmp_path), "valid")
    (tmp_path / "file").write_text("")
    with pytest.raises(CollectionError, match="is a file; accepted: a folder, a parquet file or a Hub id"):
        open_source(str(tmp_path / "file"), "valid")
    folder = write_valid(tmp_path / "set", [flat(20, 20)])
    with pytest.raises(CollectionError, match="split 'test' is none; accepted: valid"):
        open_source(str(folder), "test")
    (folder / "data" / "valid-00000-of-00001.parquet").write_bytes(b"PAR1 no more PAR1")
    with pytest.raises(CollectionError):
        list(read_pictures(open_source(str(folder), "valid"), NATIVE))


def test_a_source_that_breaks_off_is_named():
    def open_rows():
        yield {"image": None}
        raise RuntimeError("connection lost\nadvice for programmers")

    source = PictureSource("owner/name, split valid", "", None, open_rows, None)
    with pytest.raises(CollectionError, match=r"^owner/name, split valid: connection lost$"):
        source.count()


@pytest.mark.slow
@needs_peaks
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 256, 256, 3), dtype=np.uint8)  # 190 kB each as PNG
    script = (
        "import sys\n"
        "from peak_memory import peak_memory\n"
        "from modeling_chromagan.evaluation.pictures import open_source, read_pictures\n"
        "from modeling_chromagan.evaluation.protocols import PROTOCOLS\n"
        "pictures = read_pictures(open_source(sys.argv[1], 'valid'), PROTOCOLS['native'])\n"
        "print(sum(1 for _ in pictures), peak_memory())\n"
    )
    peaks = []
    for count in (40, 600):
        pictures = [Image.fromarray(noise[number % 40]) for number in range(count)]
        folder = write_valid(tmp_path / str(count), pictures, batch_size=20)
        found, peak = measure_alone(script, folder)
        assert found == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 60 << 20, peaks  # the compressed pictures alone are 110 MB


def test_tiny_imagenet_is_read_as_it_lies_there(data_root):
    source = open_source(str(data_root / "tiny-imagenet"), "valid")
    assert len(source.class_names) == 200
    pictures = list(read_pictures(source, PROTOCOLS["tiny64"], [0, 3, 40]))
    assert [picture.index for picture in pictures] == [0, 3, 40]
    assert all(picture.rgb.shape == (3, 64, 64) and picture.rgb.dtype == torch.uint8 for picture in pictures)
