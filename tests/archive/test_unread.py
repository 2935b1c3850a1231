"""What could not be listed is known until a run has looked there again."""

from modeling_chromagan.archive.manifest import read_all
from modeling_chromagan.archive.output_plan import MISSING, Failure
from modeling_chromagan.archive.unread import record_unread

LOCKED = "cannot be read: Permission denied"


def test_what_could_not_be_read_is_known_until_a_run_looks_there_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, scans = tmp_path / "out", tmp_path / "scans"

    def known(failures, *inputs):
        record_unread(out, [Failure(str(place), reason) for place, reason in failures], inputs)
        return [(record.status, record.input, record.reason) for record in read_all(out)]

    assert known([], scans) == []
    assert not out.exists()
    box, other = ("unread", f"{scans}/box", LOCKED), ("unread", f"{scans}/box 2/a", LOCKED)
    mistyped = ("unread", f"{tmp_path}/scnas", MISSING)
    assert known([("scnas", MISSING), (scans / "box", LOCKED), (scans / "box 2/a", LOCKED)], scans) == [
        mistyped,
        box,
        other,
    ]
    assert known([], scans / "box 2" / "b") == [box, other]
    assert known([(scans / "box", LOCKED)]) == [box, other]
    assert known([], scans / "box 2") == [box]
    assert known([], scans) == []
