"""Results behind URLs: the same as files here, whole or not there, and recorded."""

import numpy as np
import pytest
from picture_files import write_picture

from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.manifest import Record
from modeling_chromagan.archive.pages import ColoredPage
from modeling_chromagan.errors import ImageLoadError, SettingError
from modeling_chromagan.image_saving import ImageSaveError
from modeling_chromagan.scale.store import RemoteStore, Store, open_store

HOW = {"output_format": "png", "layout": "single", "profile": b""}
PAGE = ColoredPage(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))


def test_what_a_path_or_url_opens(tmp_path, memory):
    for place in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        store = open_store(place)
        assert (type(store), store.out, store.path("a/b.png")) == (Store, tmp_path, tmp_path / "a" / "b.png")
    store = open_store("memory://bucket/results/")
    assert (type(store), store.path("a/b.png")) == (RemoteStore, "memory://bucket/results/a/b.png")
    with pytest.raises(SettingError, match="nowhere://x: "):
        open_store("nowhere://x")


def test_a_name_with_the_sign_that_chains_urls_is_a_name(tmp_path):
    (tmp_path / "a::b.png").write_bytes(b"picture")
    assert open_store(tmp_path).read(f"local://{tmp_path}/a::b.png").content == b"picture"


def test_a_result_of_which_the_server_says_nothing_is_not_taken_for_gone(memory, monkeypatch):
    store = open_store("memory://bucket/out")
    store.put("a.png", b"picture")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Forbidden")

    monkeypatch.setattr(type(memory), "info", refuse)
    with pytest.raises(OSError, match=r"^memory://bucket/out/a\.png: Forbidden$"):
        store.is_file("a.png")


def test_a_result_is_the_same_object_as_a_file(tmp_path, memory):
    store = open_store("memory://bucket/out")
    written = store.write([PAGE], "deep/a.png", **HOW)
    assert written == LocalStore(tmp_path).write([PAGE], "deep/a.png", **HOW)
    assert memory.cat_file("/bucket/out/deep/a.png") == (tmp_path / "deep" / "a.png").read_bytes()
    assert store.is_file("deep/a.png")
    assert not store.is_file("deep")
    assert store.hash("deep/a.png") == written.sha256
    with pytest.raises(OSError, match="gone"):
        store.hash("gone.png")


def test_sources_are_read_here_and_there(tmp_path, memory):
    write_picture(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    memory.pipe_file("/bucket/a.png", data)
    for store in (open_store(tmp_path / "out"), open_store("memory://bucket/out")):
        here, there = store.read(tmp_path / "a.png"), store.read("memory://bucket/a.png")
        assert (here.content, here.sha256) == (data, there.sha256)
        assert there.content == data
        for gone in (tmp_path / "gone.png", "memory://bucket/gone.png"):
            with pytest.raises(ImageLoadError, match=f"{gone}: no such file or directory"):
                store.read(gone)


def test_what_cannot_be_encoded_or_put_is_named_and_leaves_nothing(memory, monkeypatch):
    store = open_store("memory://bucket/out")

    def damaged():
        yield PAGE
        raise ImageLoadError("a.tif", "damaged")

    with pytest.raises(ImageLoadError, match="damaged"):
        store.write(damaged(), "a.tif", **{**HOW, "output_format": "tiff", "layout": "pages"})
    wide = ColoredPage(np.zeros((1, 70_000, 3), np.uint8))
    with pytest.raises(ImageSaveError, match=r"^memory://bucket/out/a\.jpg: "):
        store.write([wide], "a.jpg", **{**HOW, "output_format": "jpeg"})

    def refuse(*arguments):
        raise RuntimeError("no credentials\nlong advice")

    monkeypatch.setattr(type(memory), "put_file", refuse)
    with pytest.raises(ImageSaveError, match=r"^memory://bucket/out/a\.png: cannot be written: .*no credentials$"):
        store.write([PAGE], "a.png", **HOW)
    assert memory.find("/bucket") == []


def test_a_manifest_is_one_object_that_keeps_the_last_record_of_each_result(memory):
    store = open_store("memory://bucket/out")
    manifest = store.open_manifest("shards/00000")
    assert manifest.records == {}
    for status in ("started", "colorized"):
        manifest.add(Record("a.png", status, "a.tif"))
    other = store.open_manifest("shards/00000")
    assert other.records == manifest.records == {"a.png": Record("a.png", "colorized", "a.tif")}
    other.add(Record("b.png", "failed", "b.tif"))
    manifest.add(Record("c.png", "colorized", "c.tif"))
    lines = memory.cat_file("/bucket/out/.chromagan/shards/00000.jsonl").splitlines()
    assert len(lines) == 3
    store.open_manifest("manifest").add(Record("z.png", "colorized", "z.tif"))
    store.open_manifest("shards/00001").add(Record("d.png", "started", "d.tif"))
    assert [record.name for record in store.read_all()] == ["z.png", "a.png", "b.png", "c.png", "d.png"]
    assert list(open_store("memory://empty").read_all()) == []
