"""The named protocols, and the pictures an evaluation reads: sizes, order, kinds of sources, what is broken."""

import io
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from modeling_chromagan.evaluation.pictures import (
    PictureSourceError,
    evenly_spaced,
    open_source,
    read_pictures,
)
from modeling_chromagan.evaluation.protocols import PROTOCOLS
from modeling_chromagan.sources.picture_files import decode_picture


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack((x, y, np.full_like(x, 80)), axis=2).astype(np.uint8))


def write_parquet(folder: Path, pictures: list, batch_size: int | None = None) -> Path:
    """A data set of one split `valid`, `batch_size` rows to a row group."""
    (folder / "data").mkdir(parents=True)
    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"image": pictures}, features=features)
    rows.to_parquet(folder / "data" / "valid-00000-of-00001.parquet", batch_size=batch_size)
    return folder


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


def test_samples_come_from_the_whole_split():
    assert list(evenly_spaced(10, 4)) == [0, 2, 5, 7]
    assert list(evenly_spaced(3, 9)) == list(evenly_spaced(3, None)) == [0, 1, 2]


def test_a_folder_of_pictures_is_read_in_the_order_of_names(tmp_path):
    for name in ("b/2.png", "a.png", "b/1.jpg", ".hidden/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        gradient(20, 30).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    source = open_source(str(tmp_path), "valid")
    pictures = list(read_pictures(source, PROTOCOLS["native"]))
    assert [picture.name for picture in pictures] == ["a.png", "b/1.jpg", "b/2.png"]
    assert source.count() == 3
    assert pictures[0].rgb.shape == (3, 30, 20)
    assert pictures[0].label == -1
    assert [picture.name for picture in read_pictures(open_source(str(tmp_path), "b"), PROTOCOLS["native"])] == [
        "1.jpg",
        "2.png",
    ]


def test_chosen_rows_of_parquet_are_those_of_the_whole(tmp_path):
    pictures = [Image.new("RGB", (64, 64), (number, 100, 0)) for number in range(7)]
    source = open_source(str(write_parquet(tmp_path / "set", pictures)), "valid")
    assert source.count() == 7
    for _ in range(2):  # a source can be read again
        read = list(read_pictures(source, PROTOCOLS["tiny64"], [1, 5]))
        assert [(picture.index, int(picture.rgb[0, 0, 0])) for picture in read] == [(1, 1), (5, 5)]


def test_broken_pictures_are_named_and_passed_over(tmp_path):
    gradient(64, 64).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    gradient(64, 64).save(tmp_path / "3.jpg")
    (tmp_path / "3.jpg").write_bytes((tmp_path / "3.jpg").read_bytes()[:500])
    gradient(9, 64).save(tmp_path / "4.png")
    gradient(64, 64).save(tmp_path / "5.png")
    told = []
    source = open_source(str(tmp_path), "valid")
    read = list(read_pictures(source, PROTOCOLS["native"], on_broken=lambda *words: told.append(words)))
    assert [picture.name for picture in read] == ["1.png", "5.png"]
    assert [name for name, _ in told] == ["2.png", "3.jpg", "4.png"]
    assert "9x64; accepted: 16 pixels a side" in told[2][1]


def test_pictures_are_decoded_as_they_are_displayed():
    def encoded(picture: Image.Image, **options) -> dict:
        file = io.BytesIO()
        picture.save(file, "PNG", **options)
        return {"bytes": file.getvalue(), "path": None}

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    upright = decode_picture(encoded(gradient(40, 20), exif=exif))
    assert upright.size == (20, 40)
    assert upright.getpixel((19, 0))[1] < 10

    # A profile is applied and then forgotten: nobody may apply it again.
    gray = Image.new("RGB", (4, 4), (128, 128, 128))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = decode_picture(encoded(gray, icc_profile=srgb))
    assert same.getpixel((0, 0)) == (128, 128, 128)
    assert "icc_profile" not in same.info
    assert decode_picture(encoded(gray, icc_profile=b"damaged")).getpixel((0, 0)) == (128, 128, 128)
    assert decode_picture(encoded(Image.new("LA", (4, 4), (7, 0)))).getpixel((0, 0)) == (7, 7, 7)


def test_sources_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(PictureSourceError, match="holds no pictures; accepted: parquet files or pictures"):
        open_source(str(tmp_path), "valid")
    (tmp_path / "file").write_text("")
    with pytest.raises(PictureSourceError, match="is a file; accepted: a folder or a Hub id"):
        open_source(str(tmp_path / "file"), "valid")
    folder = write_parquet(tmp_path / "set", [gradient(20, 20)])
    with pytest.raises(PictureSourceError, match="Bad split: test"):
        open_source(str(folder), "test")
    (folder / "data" / "valid-00000-of-00001.parquet").write_bytes(b"PAR1 no more PAR1")
    with pytest.raises(PictureSourceError):
        list(read_pictures(open_source(str(folder), "valid"), PROTOCOLS["native"]))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read as Linux tells it")
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 256, 256, 3), dtype=np.uint8)  # 190 kB each as PNG
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from modeling_chromagan.evaluation.pictures import open_source, read_pictures\n"
        "from modeling_chromagan.evaluation.protocols import PROTOCOLS\n"
        "pictures = read_pictures(open_source(sys.argv[1], 'valid'), PROTOCOLS['native'])\n"
        "count = sum(1 for _ in pictures)\n"
        # Not getrusage: what it reports can be the peak of the process that started this one.
        "print(count, re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    peaks = []
    for count in (40, 600):
        pictures = [Image.fromarray(noise[number % 40]) for number in range(count)]
        folder = write_parquet(tmp_path / str(count), pictures, batch_size=20)
        run = subprocess.run(
            [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True, env=os.environ
        )
        found, peak = map(int, run.stdout.split())
        assert found == count
        peaks.append(peak / 1024)
    assert peaks[1] - peaks[0] < 60, peaks  # MB; the compressed pictures alone are 110


def test_tiny_imagenet_is_read_as_it_lies_there(data_root):
    source = open_source(str(data_root / "tiny-imagenet"), "valid")
    assert len(source.class_names) == 200
    pictures = list(read_pictures(source, PROTOCOLS["tiny64"], [0, 3, 40]))
    assert [picture.index for picture in pictures] == [0, 3, 40]
    assert all(picture.rgb.shape == (3, 64, 64) and picture.rgb.dtype == torch.uint8 for picture in pictures)
