"""Results and inputs beside what was recorded of them."""

import os
from dataclasses import replace
from pathlib import Path

from archived_results import colorized

from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.manifest import Output
from modeling_chromagan.archive.verification import verify


def test_what_is_edited_gone_or_changed_is_found(tmp_path, monkeypatch):
    record = colorized(tmp_path, "a.png")
    record = replace(record, outputs=(*record.outputs, Output("a.compare.png", "12")))
    store, source, result = LocalStore(tmp_path / "out"), tmp_path / "in" / "a.png", tmp_path / "out" / "a.png"

    def found():
        finding = verify(record, store)
        return finding.results["a.png"], finding.results["a.compare.png"], finding.source

    assert found() == ("whole", "gone", "unchanged")
    (tmp_path / "out" / "a.compare.png").touch()
    assert found() == ("whole", "edited", "unchanged")
    data = bytearray(result.read_bytes())
    data[-1] ^= 1
    result.write_bytes(data)
    source.write_bytes(b"another")
    assert found() == ("edited", "edited", "changed")
    source.unlink()
    os.mkfifo(source)
    result.unlink()
    assert found() == ("gone", "edited", "not found")
    assert verify(replace(record, input_sha256=""), store).source == ""
    assert verify(replace(record, status="already in color"), store).results == {}


def test_what_cannot_be_read_is_neither_whole_nor_edited(tmp_path, monkeypatch):
    record = colorized(tmp_path, "a.png")

    def refuse(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", refuse)
    finding = verify(record, LocalStore(tmp_path / "out"))
    assert (finding.results, finding.source) == ({"a.png": "unreadable"}, "unreadable")
