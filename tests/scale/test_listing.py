"""What is listed: no more is read of a file than it takes to know its size, and all that is not taken is named."""

import os
from collections import Counter

import numpy as np
from PIL import Image

from modeling_chromagan.scale import listing
from modeling_chromagan.scale.store import open_store


def test_no_more_of_a_file_is_read_than_a_header_may_take(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (2000, 3000), dtype=np.uint8)).save(path)
    read = Counter()
    readinto = listing.Header.readinto

    def count(self, buffer):
        read["bytes"] += len(buffer)
        return readinto(self, buffer)

    monkeypatch.setattr(listing.Header, "readinto", count)
    assert listing.measure(path) == (path.stat().st_size, 6_000_000)
    assert 0 < read["bytes"] < 100_000
    monkeypatch.setattr(listing.Header, "left", 10)
    assert listing.measure(path) == (path.stat().st_size, 0)


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert listing.measure(tmp_path / "a.png") == (0, 0)


def test_one_folder_that_cannot_be_read_costs_that_folder_alone(tmp_path, memory, monkeypatch):
    for name in ("a/1.png", "b/2.png"):
        memory.pipe_file(f"/scans/{name}", b"picture")
    ls = type(memory).ls

    def refuse(self, path, *arguments, **options):
        if path.endswith("/b"):
            raise RuntimeError("no access\nlong advice")
        return ls(self, path, *arguments, **options)

    monkeypatch.setattr(type(memory), "ls", refuse)
    found = listing.list_sources(["memory://scans"], open_store(tmp_path / "out"))
    assert found.path.to_pylist() == ["memory:///scans/a/1.png"]
    assert list(map(str, found.found.failures)) == ["memory:///scans/b: cannot be read: RuntimeError: no access"]
