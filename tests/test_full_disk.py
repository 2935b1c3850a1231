"""Wherever the disk ends, nothing that was cut off has a name, counts as done, or is left behind."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from full_disk import fill, largest_file, small_disk
from PIL import Image
from small_evaluation import tiny_config
from written_pages import everything, random_page

from modeling_chromagan import ChromaGANGenerator, ChromaGANImageProcessor
from modeling_chromagan.archive import writing
from modeling_chromagan.archive.pages import ColoredPage
from modeling_chromagan.archive.writing import WRITERS, write_pages
from modeling_chromagan.durable_files import append_line, write_file, write_text
from modeling_chromagan.image_saving import ImageSaveError, save_image
from modeling_chromagan.picture_formats import SUFFIXES
from modeling_chromagan.training.run.checkpoint import write_tensors

BLOCK = 65_536
SIZES = {"jpeg": 200, "avif": 170}  # of noise whose file is longer than a block


def noise(output_format: str) -> ColoredPage:
    side = SIZES.get(output_format, 160)
    return random_page((side, side, 3), metadata=everything())


def some_limits(size: int) -> list[int]:
    """Sizes of the last block, every one in its last bytes, and some of the blocks before."""
    return sorted({0, 1, size // 2, *range(max(0, size - BLOCK), size, 4099), *range(max(0, size - 8), size)})


def assert_noticed(limit: int, write: Callable[[], Any]) -> None:
    """Writing fails where no file may have more than `limit` bytes."""
    try:  # and not `pytest.raises`, which takes long where there are tens of thousands of limits
        with largest_file(limit):
            write()
    except OSError as error:
        assert "File too large" in str(error)  # noqa: PT017
    else:
        pytest.fail(f"nothing was noticed at {limit}")


def assert_nothing_is_cut(folder: Path, limits: Iterator[int], write: Callable[[], Any], before: bytes | None) -> None:
    """At each limit, writing `folder`/result fails in one line, and only what was there before is there."""
    target = folder / "result"
    for limit in limits:
        if before is not None:
            target.write_bytes(before)
        assert_noticed(limit, write)
        assert os.listdir(folder) == ([] if before is None else ["result"]), limit
        assert before is None or target.read_bytes() == before, limit


@pytest.mark.parametrize("before", [None, b"an earlier result"])
@pytest.mark.parametrize("output_format", WRITERS)
def test_no_picture_is_cut_off(tmp_path, output_format, before):
    page = noise(output_format)

    def write():
        return write_pages([page], tmp_path / "result", output_format=output_format, layout="single", profile=b"")

    size = write().size
    assert size > BLOCK
    (tmp_path / "result").unlink()
    slow = output_format in ("avif", "jp2")  # to encode
    limits = [0, size // 2, size - 1] if slow else some_limits(size)
    assert_nothing_is_cut(tmp_path, limits, write, before)
    with largest_file(size):
        assert write().size == size == (tmp_path / "result").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("output_format", WRITERS)
def test_no_picture_is_cut_off_at_any_byte_of_the_last_block(tmp_path, monkeypatch, output_format):
    """Encoded once: the same writes to the file, in the same order, are made again and again."""
    calls, ended = [], [0]

    class Recorder(io.BytesIO):
        def write(self, data):
            sought = self.tell() != ended[-1]  # each seek empties the buffer, which makes it a write of its own
            calls.append((self.tell() if sought else None, bytes(data)))
            ended.append(self.tell() + len(data))
            return super().write(data)

    WRITERS[output_format](iter([noise(output_format)]), recorder := Recorder(), writing.FileSettings("single"))

    def play(pages, file, settings):
        for position, data in calls:
            if position is not None:
                file.seek(position)
            file.write(data)
        return writing.Notes()

    monkeypatch.setitem(WRITERS, output_format, play)
    size = len(recorder.getvalue())

    def write():
        return write_pages([], tmp_path / "result", output_format=output_format, layout="single", profile=b"")

    assert_nothing_is_cut(tmp_path, range(size - BLOCK, size), write, None)
    assert write().size == size
    assert (tmp_path / "result").read_bytes() == recorder.getvalue()


@pytest.mark.parametrize("output_format", SUFFIXES)
def test_no_picture_of_the_pipeline_is_cut_off(tmp_path, output_format):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8))
    path = tmp_path / f"a{SUFFIXES[output_format][0]}"
    save_image(picture, path)
    size = path.stat().st_size
    path.unlink()
    for limit in (0, size // 2, size - 5000, size - 1):
        with (
            largest_file(limit),
            pytest.raises(ImageSaveError, match="cannot be written: File too large"),
        ):
            save_image(picture, path)
        assert list(tmp_path.iterdir()) == []
    with largest_file(size):
        save_image(picture, path)


@pytest.mark.parametrize("output_format", WRITERS)
def test_on_a_disk_that_is_full_no_picture_is_cut_off(tmp_path, output_format):
    page = noise(output_format)
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        folder = disk / "results"
        folder.mkdir()

        def write():
            return write_pages([page], folder / "a", output_format=output_format, layout="single", profile=b"")

        size = write().size
        (folder / "a").unlink()
        for left in (0, 4096, size // 2, size - BLOCK // 2, size - 4096):
            filler = fill(disk, left)
            with pytest.raises(ImageSaveError, match="a: cannot be written: No space left on device"):
                write()
            assert list(folder.iterdir()) == []
            filler.unlink()
        fill(disk, size + 4 * 4096)
        assert write().size == (folder / "a").stat().st_size == size


def test_no_text_is_cut_off_and_no_line_of_a_record(tmp_path):
    text = "ä" * 3000
    assert_nothing_is_cut(tmp_path, some_limits(6000), lambda: write_text(tmp_path / "result", text), None)
    assert_nothing_is_cut(tmp_path, some_limits(6000), lambda: write_text(tmp_path / "result", text), b"before")
    record = b'{"number": 1}\n'
    lines = [*range(len(record), len(record) + 3001, 199), len(record) + 3000]
    assert_nothing_is_cut(tmp_path, lines, lambda: append_line(tmp_path / "result", "x" * 3000), record)


def test_no_weights_are_cut_off(tmp_path):
    generator = ChromaGANGenerator(tiny_config())
    generator.save_pretrained(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    size = len(before["model.safetensors"])
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(1)
    for limit in (100, 3000, size - BLOCK // 2, size - 4096, size - 1):
        with largest_file(limit), pytest.raises(OSError, match="File too large"):
            generator.save_pretrained(tmp_path / "model")
        assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    with largest_file(size):
        generator.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() != before["model.safetensors"]


def test_no_settings_of_an_image_processor_are_cut_off(tmp_path):
    processor = ChromaGANImageProcessor(size=96)
    with largest_file(50), pytest.raises(OSError, match="File too large"):
        processor.save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_safetensors_notices_every_byte_that_is_missing(tmp_path):
    tensors = {"a": torch.randn(30_000)}
    write_tensors(tmp_path / "a", tensors)
    size = (tmp_path / "a").stat().st_size
    for limit in range(size - BLOCK, size):
        assert_noticed(limit, lambda: write_tensors(tmp_path / "a", tensors))


def test_no_file_is_cut_off_that_is_written_as_a_whole(tmp_path):
    """An ONNX graph, an HTML page: what is in memory."""
    data = bytes(range(256)) * 300
    assert_nothing_is_cut(tmp_path, some_limits(len(data)), lambda: write_file(tmp_path / "result", data), b"before")
