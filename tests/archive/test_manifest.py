"""The record of a run, whatever stopped it."""

import threading

import pytest
from full_disk import largest_file

from modeling_chromagan.archive.manifest import Manifest, Output, Record, read_all
from modeling_chromagan.errors import SettingError

FULL = Record(
    "deep/a.png",
    "colorized",
    "scans/a\udcff.tif",
    input_sha256="12",
    outputs=(Output("deep/a.png", "34"), Output("deep/a.compare.png", "56")),
    reason="none",
    notes=("IPTC is left out", "JPEG holds 8 bits"),
    settings={"saturation": 1.5, "recolor": True},
    weights="78",
    model="owner/name",
    pictures=3,
    seconds=1.25,
    software="chromagan 1",
)


def test_a_record_is_the_same_when_it_is_read_back(tmp_path):
    path = tmp_path / "out" / ".chromagan" / "manifest.jsonl"
    started = Record("b.png", "started", "b.png", kept=("b.compare.png",), tries=2)
    for record in (FULL, started):
        Manifest(path).add(record)
    assert Manifest(path).records == {"deep/a.png": FULL, "b.png": started}
    assert len(path.read_bytes().splitlines()) == 2


def test_the_last_record_of_a_result_counts(tmp_path):
    manifest = Manifest(tmp_path / "manifest.jsonl")
    for status in ("started", "failed", "started", "colorized"):
        manifest.add(Record("a.png", status, "a.tif"))
    assert manifest.records["a.png"].status == "colorized"
    assert Manifest(manifest.path).records == manifest.records


@pytest.mark.parametrize("end", range(0, 60, 7))
def test_a_line_that_was_cut_off_costs_that_line_alone(tmp_path, end):
    path = tmp_path / "manifest.jsonl"
    Manifest(path).add(FULL)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:end])
    cut = Manifest(path)
    assert cut.records == {FULL.name: FULL}
    cut.add(Record("b.png", "failed", "b.tif"))
    assert set(Manifest(path).records) == {FULL.name, "b.png"}


def test_threads_do_not_write_into_each_others_lines(tmp_path):
    manifest = Manifest(tmp_path / "manifest.jsonl")

    def add(thread):
        for number in range(20):
            manifest.add(Record(f"{thread}/{number}.png", "started", "a" * 500))

    threads = [threading.Thread(target=add, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Manifest(manifest.path).records) == 80


def test_a_record_that_does_not_fit_the_disk_is_an_error(tmp_path):
    manifest = Manifest(tmp_path / "manifest.jsonl")
    manifest.add(FULL)
    before = manifest.path.read_bytes()
    with largest_file(len(before) + 40), pytest.raises(OSError, match="File too large"):
        manifest.add(Record("b.png", "colorized", "b.tif"))
    assert manifest.path.read_bytes() == before
    assert set(manifest.records) == {FULL.name}


def test_what_a_later_version_adds_to_a_record_is_left_out(tmp_path):
    line = FULL.to_line().replace("{", '{"later": [1], ', 1)
    (tmp_path / "manifest.jsonl").write_text(f"{line}\n")
    assert Manifest(tmp_path / "manifest.jsonl").records == {FULL.name: FULL}


def test_a_manifest_that_cannot_be_read_is_no_empty_one(tmp_path):
    (tmp_path / "manifest.jsonl").mkdir()
    with pytest.raises(SettingError, match=r"manifest\.jsonl cannot be read: Is a directory; accepted: another OUT$"):
        Manifest(tmp_path / "manifest.jsonl")


def test_the_records_of_all_shards_are_read_one_manifest_at_a_time(tmp_path):
    assert list(read_all(tmp_path)) == []
    folder = tmp_path / ".chromagan"
    for path, names in (("shards/00002", "d"), ("shards/00000", "bc"), ("manifest", "a"), ("shards/00001", "")):
        manifest = Manifest(folder / f"{path}.jsonl")
        for name in names:
            manifest.add(Record(name, "started", name))
            manifest.add(Record(name, "colorized", name))
    (folder / "shards" / "00001.jsonl").write_bytes(b'{"name": "cut')
    (folder / "shards" / "notes.txt").write_text("no manifest")
    assert [(record.name, record.status) for record in read_all(tmp_path)] == [(name, "colorized") for name in "abcd"]


def test_what_one_manifest_knows_as_made_is_not_counted_as_kept_by_another(tmp_path):
    folder = tmp_path / ".chromagan"
    for path, records in {
        "manifest": {"a": "kept", "b": "kept", "c": "colorized"},
        "shards/00000": {"a": "colorized", "b": "failed", "c": "kept", "d": "kept"},
    }.items():
        manifest = Manifest(folder / f"{path}.jsonl")
        for name, status in records.items():
            manifest.add(Record(name, status, name))
    found = [(record.name, record.status) for record in read_all(tmp_path)]
    assert found == [("c", "colorized"), ("a", "colorized"), ("b", "failed"), ("b", "kept"), ("d", "kept")]
