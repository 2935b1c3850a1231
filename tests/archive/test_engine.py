"""A run over files, with a stand-in for network and files: what is recorded, made again, kept, and survived."""

import hashlib
import shutil
import threading
import time
from types import SimpleNamespace

import pytest
from full_disk import largest_file

from modeling_chromagan.archive import engine
from modeling_chromagan.archive.engine import Run
from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.manifest import Manifest, Output, Record
from modeling_chromagan.archive.output_plan import Task
from modeling_chromagan.archive.pages import AlreadyInColorError
from modeling_chromagan.archive.run_settings import RunSettings
from modeling_chromagan.errors import ImageLoadError, UserError, WeightsError


class Copier:
    """Writes what it reads; does as the first word of a file says."""

    def __init__(self, out):
        self.out, self.copied = out, []

    def colorize(self, source, *, called, output, compare, keep, write):
        word = source.content.split()[0]
        self.copied.append(output)
        if word == b"color":
            raise AlreadyInColorError
        if word == b"damaged":
            raise ImageLoadError(called, "damaged")
        if word == b"large":
            raise MemoryError
        if word == b"kill":
            raise KeyboardInterrupt
        if word == b"fault":
            raise KeyError("a mistake of the program")
        if word == b"unmount":
            shutil.rmtree(self.out)
        time.sleep(0.02 if word == b"slow" else 0)
        (self.out / output).parent.mkdir(parents=True, exist_ok=True)
        (self.out / output).write_bytes(source.content)
        return SimpleNamespace(outputs=(Output(output, source.sha256),), pictures=1, notes=("a note",))


@pytest.fixture
def files(tmp_path):
    """Makes files of the given contents, and runs over them; gives "name: status" in order, and what was copied."""

    def go(workers=2, settings=None, weights="w", load=None, **options):
        store = LocalStore(tmp_path / "out")
        copier = Copier(store.out)
        manifest = Manifest(store.manifest())
        run = Run(
            store,
            manifest,
            settings or RunSettings(),
            load or (lambda: copier),
            model="m",
            weights=weights,
            **options,
        )
        tasks = [Task(path, f"{path.stem}.out") for path in sorted((tmp_path / "in").iterdir())]
        done = [f"{item.task.name}: {item.status}" for item in run.work_off(tasks, workers)]
        return done, sorted(copier.copied)

    def write(**contents):
        (tmp_path / "in").mkdir(exist_ok=True)
        for name, content in contents.items():
            (tmp_path / "in" / f"{name}.txt").write_text(content)
        return go

    return write


def test_a_second_run_does_what_changed_and_nothing_else(files, tmp_path):
    go = files(a="a", b="damaged", c="color", d="large", e="slow")
    expected = ["a.out: colorized", "b.out: failed", "c.out: already in color", "d.out: failed", "e.out: colorized"]
    assert go() == (expected, ["a.out", "b.out", "c.out", "d.out", "e.out"])
    expected = ["a.out: kept", "b.out: failed", "c.out: already in color", "d.out: failed", "e.out: kept"]
    assert go() == (expected, ["b.out", "d.out"])
    files(a="other", b="mended")
    (tmp_path / "out" / "e.out").unlink()
    done, copied = go()
    assert copied == ["a.out", "b.out", "d.out", "e.out"]
    assert done[:2] == ["a.out: colorized", "b.out: colorized"]
    records = Manifest(tmp_path / "out" / ".chromagan" / "manifest.jsonl").records
    assert records["d.out"].reason == f"{tmp_path / 'in' / 'd.txt'}: too large for the memory that is free"
    made = records["a.out"]
    assert made.input_sha256 == made.outputs[0].sha256 == hashlib.sha256(b"other").hexdigest()
    assert (made.notes, made.pictures, made.weights, made.model) == (("a note",), 1, "w", "m")


def test_an_earlier_result_of_what_is_in_color_now_is_named(files, tmp_path):
    go = files(a="a", b="color", c="c")
    go()
    files(a="color other", c="color other")
    (tmp_path / "out" / "c.out").unlink()
    assert go()[0] == [f"{name}.out: already in color" for name in "abc"]
    records = Manifest(tmp_path / "out" / ".chromagan" / "manifest.jsonl").records
    left = ("a.out, of an earlier run, is left where it is; remove it if it is of no use",)
    assert [records[f"{name}.out"].notes for name in "abc"] == [left, (), ()]
    assert (tmp_path / "out" / "a.out").read_text() == "a"


def test_a_file_that_somebody_put_in_the_place_of_a_failure_is_kept(files, tmp_path):
    go = files(a="damaged", b="kill")
    with pytest.raises(KeyboardInterrupt):
        go()
    files(b="damaged")
    go()
    for name in "ab":
        (tmp_path / "out" / f"{name}.out").write_text("made by hand")
    assert go() == (["a.out: kept", "b.out: kept"], [])
    records = Manifest(tmp_path / "out" / ".chromagan" / "manifest.jsonl").records
    assert [(record.status, record.reason) for record in records.values()] == [("kept", "was there before")] * 2
    lines = (tmp_path / "out" / ".chromagan" / "manifest.jsonl").read_bytes()
    assert go() == (["a.out: kept", "b.out: kept"], [])
    assert (tmp_path / "out" / ".chromagan" / "manifest.jsonl").read_bytes() == lines
    files(a="mended", b="mended")
    (tmp_path / "out" / "a.out").unlink()
    assert go() == (["a.out: colorized", "b.out: kept"], ["a.out"])
    assert go(overwrite=True)[1] == ["a.out", "b.out"]


def test_an_edited_result_that_failed_to_be_made_again_is_recorded_as_kept(files, tmp_path):
    go = files(a="a")
    go()
    files(a="damaged")
    go()
    (tmp_path / "out" / "a.out").write_text("edited")
    assert go() == (["a.out: kept"], [])
    (record,) = Manifest(tmp_path / "out" / ".chromagan" / "manifest.jsonl").records.values()
    assert (record.status, record.reason, len(record.outputs)) == ("kept", "was edited since it was made", 1)
    (tmp_path / "out" / "a.out").write_text("a")
    files(a="mended")
    assert go() == (["a.out: colorized"], ["a.out"])


def test_a_manifest_that_cannot_be_written_is_named_with_each_file(files, tmp_path):
    go = files(a="a" * 500)
    with largest_file(100):
        store = LocalStore(tmp_path / "out")
        run = Run(store, Manifest(store.manifest()), RunSettings(), lambda: None, model="m", weights="w")
        (done,) = run.work_off([Task(tmp_path / "in" / "a.txt", "a.out")], 1)
    assert done.record.reason == f"{tmp_path / 'in' / 'a.txt'}: {store.manifest()} cannot be written: File too large"
    assert go() == (["a.out: colorized"], ["a.out"])


def test_other_settings_or_weights_make_everything_again(files):
    go = files(a="a", c="color")
    assert len(go()[1]) == 2
    assert go(settings=RunSettings(saturation=1.5))[1] == ["a.out", "c.out"]
    assert go(settings=RunSettings(saturation=1.5), weights="other")[1] == ["a.out", "c.out"]
    assert go(settings=RunSettings(saturation=1.5), weights="other")[1] == []


def test_torch_is_imported_only_where_something_is_left_to_do(files, monkeypatch):
    threads, both = set(), threading.Barrier(2, timeout=60)

    def use_one_thread():
        threads.add(threading.get_ident())
        both.wait()

    monkeypatch.setattr(engine, "use_one_thread", use_one_thread)
    go = files(a="a", b="b")
    assert len(go()[1]) == 2
    assert len(threads) == 2
    threads.clear()
    assert go()[1] == []
    assert not threads


def test_results_come_in_the_order_of_the_inputs(files):
    go = files(**{f"f{number:02}": "slow" if number % 3 == 0 else "quick" for number in range(20)})
    done, _ = go(workers=4)
    assert done == [f"f{number:02}.out: colorized" for number in range(20)]


def test_an_interruption_ends_the_run_and_the_next_one_finishes_it(files):
    go = files(a="a", b="kill", c="slow", d="slow", e="e")
    for _ in range(6):  # more often than a file may end the program
        with pytest.raises(KeyboardInterrupt):
            go(workers=1)
    files(b="b")
    done, copied = go(workers=1)
    assert {"a.out: kept", "b.out: colorized"} < set(done)
    assert set(done) <= {f"{name}.out: {status}" for name in "abcde" for status in ("kept", "colorized")}
    assert "a.out" not in copied


def test_a_folder_of_results_that_goes_away_ends_the_run(files, tmp_path):
    go = files(a="a", b="unmount", c="c", d="d")
    with pytest.raises(UserError, match=r"manifest\.jsonl is gone: was OUT removed or unmounted\?"):
        go(workers=1)
    assert not (tmp_path / "out" / ".chromagan").exists()
    assert not (tmp_path / "out" / "d.out").exists()


def test_a_mistake_of_the_program_is_no_fault_of_a_picture(files):
    with pytest.raises(KeyError, match="a mistake of the program"):
        files(a="a", b="fault")()


def test_a_model_that_cannot_be_loaded_ends_the_run(files, tmp_path):
    def refuse():
        raise WeightsError("no weights")

    with pytest.raises(WeightsError, match="no weights"):
        files(a="a", b="b")(load=refuse)
    assert not (tmp_path / "out" / "a.out").exists()


def test_a_file_that_ends_the_program_is_tried_five_times(files, tmp_path):
    go = files(a="a", b="b")
    manifest = Manifest(tmp_path / "out" / ".chromagan" / "manifest.jsonl")
    manifest.add(Record("b.out", "started", "b", tries=4))
    assert go()[0] == ["a.out: colorized", "b.out: colorized"]
    (tmp_path / "out" / "b.out").unlink()
    manifest.add(Record("b.out", "started", "b", tries=5))
    assert go() == (["a.out: kept", "b.out: crashed"], [])
    assert Manifest(manifest.path).records["b.out"].reason == "the program ended 5 times while at it"
    assert go() == (["a.out: kept", "b.out: crashed"], [])
    assert go(retry_crashed=True) == (["a.out: kept", "b.out: colorized"], ["b.out"])


def test_no_more_files_are_held_than_twice_the_threads(files, monkeypatch):
    go = files(**{f"f{number:02}": "slow" for number in range(30)})
    held, most, lock = 0, 0, threading.Lock()
    read = LocalStore.read

    def count(self, source):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        try:
            return read(self, source)
        finally:
            with lock:
                held -= 1

    monkeypatch.setattr(LocalStore, "read", count)
    go(workers=2)
    assert 1 <= most <= 2
