"""Plans of shards: what is listed, named, dealt out, kept, and refused."""

import io
import itertools
import os

import pyarrow.parquet as pq
import pytest
from peak_memory import measure_alone, needs_peaks
from picture_files import write_picture
from PIL import Image

from modeling_chromagan.archive.output_plan import make_plan
from modeling_chromagan.errors import SettingError
from modeling_chromagan.scale import listing as listing_module
from modeling_chromagan.scale.plan import (
    PlanError,
    count_pictures_of,
    count_shards,
    make_plan_of_shards,
    read_shard,
)
from modeling_chromagan.scale.store import open_store


def plan(sources, out, output_format=None, per_shard=3):
    summary, found = make_plan_of_shards([*map(str, sources)], str(out), output_format, per_shard)
    return summary, found


def rows(out):
    return pq.read_table(out / ".chromagan" / "plan.parquet").to_pylist()


def shards(out):
    store = open_store(out)
    return [[task.name for task in read_shard(store, index)] for index in range(count_shards(store))]


def put(memory, path, size=(5, 4)):
    data = io.BytesIO()
    Image.new("L", size).save(data, "PNG")
    memory.pipe_file(path, data.getvalue())
    return len(data.getvalue())


def test_a_plan_states_paths_sizes_and_names(tmp_path):
    write_picture(tmp_path / "in" / "sub" / "a.png", 40, 56)
    write_picture(tmp_path / "in" / "b.bmp", 30, 20)
    write_picture(tmp_path / "in" / "b.webp", 30, 20)
    (tmp_path / "in" / "damaged.tif").write_bytes(b"II*\0")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    write_picture(tmp_path / "in" / ".hidden.png")
    summary, found = plan([tmp_path / "in"], tmp_path / "out", per_shard=10)
    assert (summary.pictures, summary.shards, summary.new, summary.gone) == (4, 1, 4, 0)
    assert (found.failures, found.not_pictures) == ([], 1)
    expected = [
        ("b.bmp", "b.png", 600),
        ("b.webp", "b.webp", 0),
        ("damaged.tif", "damaged.tif", 0),
        ("sub/a.png", "sub/a.png", 2240),
    ]
    assert rows(tmp_path / "out") == [
        {
            "path": str(tmp_path / "in" / name),
            "bytes": (tmp_path / "in" / name).stat().st_size,
            "pixels": pixels,
            "output": output,
            "shard": 0,
        }
        for name, output, pixels in expected
    ]


def test_names_are_those_of_a_run_without_a_plan(tmp_path):
    for name in ("a.bmp", "a.png", "a.page-0002.png", "deep/b.jpg", f"{'long' * 62}.gif"):
        write_picture(tmp_path / "in" / name)
    (tmp_path / "link").symlink_to(tmp_path / "in" / "deep")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "out").mkdir()
    (tmp_path / "in" / "out" / "old.png").write_bytes(b"an output")
    sources = [tmp_path / "in", tmp_path / "link", tmp_path / "in" / "a.png"]
    for output_format in (None, "tiff"):
        plan(sources, tmp_path / "in" / "out", output_format)
        expected = make_plan(sources, tmp_path / "in" / "out", output_format, compare=False)
        assert {row["path"]: row["output"] for row in rows(tmp_path / "in" / "out")} == {
            str(task.source): task.name for task in expected.tasks
        }
        assert expected.tasks


def test_shards_have_equal_numbers_and_about_equal_work(tmp_path, monkeypatch):
    pixels = {f"{number:03}.png": 1_000_000 + 10_000 * number for number in range(100)}
    (tmp_path / "in").mkdir()
    for name in pixels:
        (tmp_path / "in" / name).touch()
    monkeypatch.setattr(listing_module, "measure", lambda path: (10, pixels[path.name]))
    plan([tmp_path / "in"], tmp_path / "out", per_shard=20)
    dealt = shards(tmp_path / "out")
    assert sorted(itertools.chain(*dealt)) == sorted(pixels)
    assert {len(names) for names in dealt} == {20}
    work = [sum(pixels[name] for name in names) for names in dealt]
    assert max(work) < 1.001 * min(work)
    assert all(names == sorted(names) for names in dealt)
    before = rows(tmp_path / "out")
    plan([tmp_path / "in"], tmp_path / "other", per_shard=20)
    assert rows(tmp_path / "other") == before


def test_a_plan_made_again_leaves_what_stays_in_its_shard(tmp_path):
    for number in range(7):
        write_picture(tmp_path / "in" / f"{number}.png", 10 + number, 10)
    plan([tmp_path / "in"], tmp_path / "out")
    before = shards(tmp_path / "out")
    assert [len(names) for names in before] == [3, 2, 2]
    summary, _ = plan([tmp_path / "in"], tmp_path / "out")
    assert (summary.new, summary.gone, shards(tmp_path / "out")) == (0, 0, before)
    (tmp_path / "in" / "3.png").unlink()
    write_picture(tmp_path / "in" / "0000.png")
    write_picture(tmp_path / "in" / "7.png")
    summary, _ = plan([tmp_path / "in"], tmp_path / "out", per_shard=1)
    assert (summary.pictures, summary.shards, summary.new, summary.gone) == (8, 5, 2, 1)
    expected = [[name for name in names if name != "3.png"] for names in before]
    after = shards(tmp_path / "out")
    assert after[:3] == expected
    assert sorted(after[3:]) == [["0000.png"], ["7.png"]]


def test_pictures_of_a_share_are_counted(tmp_path):
    for number in range(7):
        write_picture(tmp_path / "in" / f"{number}.png", 10 + number, 10)
    plan([tmp_path / "in"], tmp_path / "out")
    store = open_store(tmp_path / "out")
    assert [count_pictures_of(store, range(first, 3, 2)) for first in (0, 1, 3)] == [5, 2, 0]


def test_objects_and_files_can_be_planned_together(tmp_path, memory):
    size = put(memory, "/scans/deep/a.png")
    put(memory, "/scans/.hidden.png")
    put(memory, "/scans/.chromagan/old.png")
    put(memory, "/scans/out/b.png")
    put(memory, "/other/c.tif")
    memory.pipe_file("/scans/notes.txt", b"no picture")
    write_picture(tmp_path / "d.png", 10, 10)
    sources = ["memory://scans", "memory://other/c.tif", f"file://{tmp_path}/d.png", "memory://gone"]
    summary, found = plan(sources, "memory://scans/out")
    assert (summary.pictures, found.not_pictures) == (3, 1)
    assert [str(failure) for failure in found.failures] == ["memory://gone: there is no such file or folder"]
    (record,) = open_store("memory://scans/out").read_all()
    assert (record.status, record.input) == ("unread", "memory://gone")
    table = pq.read_table("/scans/out/.chromagan/plan.parquet", filesystem=memory).to_pylist()
    assert sorted((row["path"], row["output"], row["pixels"]) for row in table) == [
        (str(tmp_path / "d.png"), "d.png", 100),
        ("memory:///scans/deep/a.png", "deep/a.png", 0),
        ("memory://other/c.tif", "c.tif", 0),
    ]
    assert size in [row["bytes"] for row in table]
    plan(["memory://scans"], tmp_path / "out")
    assert sorted(itertools.chain(*shards(tmp_path / "out"))) == ["deep/a.png", "out/b.png"]


def test_what_cannot_be_planned_is_refused_in_one_line(tmp_path, memory):
    write_picture(tmp_path / "1" / "a.png")
    write_picture(tmp_path / "2" / "a.png")
    put(memory, "/scans/a.png")
    (tmp_path / "empty").mkdir()
    for sources, out, message in (
        ([tmp_path / "1", tmp_path / "2"], tmp_path / "out", "would both become"),
        ([tmp_path / "1"], tmp_path / "1", "is both INPUT and OUT"),
        ([tmp_path / "1" / "a.png"], tmp_path / "1", "would replace the input"),
        (["memory://scans"], "memory://scans", "is both SRC and OUT"),
        (["memory://scans/a.png"], "memory://scans", "would replace the input memory://scans/a.png"),
        ([tmp_path / "empty"], tmp_path / "out", "empty: no pictures"),
        ([tmp_path / "gone"], tmp_path / "out", "there is no such file or folder"),
        (["nothing://a"], tmp_path / "out", "nothing://a: "),
        ([tmp_path / "1"], tmp_path / "1" / "a.png", "is a file"),
    ):
        with pytest.raises(SettingError, match=message):
            plan(sources, out)
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_no_unicode_is_named_and_left_out(tmp_path):
    write_picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / os.fsdecode(b"b\xff.png")).touch()
    _, found = plan([tmp_path / "in"], tmp_path / "out")
    (failure,) = found.failures
    assert failure.source.endswith("b\udcff.png")
    assert "rename it" in failure.reason
    assert shards(tmp_path / "out") == [["a.png"]]


def test_a_file_that_is_no_plan_is_named(tmp_path):
    (tmp_path / ".chromagan").mkdir()
    with pytest.raises(SettingError, match="there is no plan; make one with"):
        count_shards(open_store(tmp_path))
    (tmp_path / ".chromagan" / "plan.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(PlanError, match=r"plan\.parquet cannot be read as a plan: "):
        count_shards(open_store(tmp_path))


def test_a_plan_that_the_server_refuses_is_not_taken_for_none(memory, monkeypatch):
    put(memory, "/scans/a.png")
    plan(["memory://scans"], "memory://out")
    before = memory.cat_file("/out/.chromagan/plan.parquet")
    allowed = type(memory)._open

    def refuse(self, path, *arguments, **options):
        if path.endswith("plan.parquet"):
            raise PermissionError(13, "Forbidden")
        return allowed(self, path, *arguments, **options)

    monkeypatch.setattr(type(memory), "_open", refuse)
    for command in (
        lambda: count_shards(open_store("memory://out")),
        lambda: plan(["memory://scans"], "memory://out"),
    ):
        with pytest.raises(PlanError, match=r"^memory://out/\.chromagan/plan\.parquet cannot be read as a plan: Forb"):
            command()
    assert memory.cat_file("/out/.chromagan/plan.parquet") == before


def test_a_source_that_the_server_refuses_is_not_taken_for_nothing(tmp_path, memory, monkeypatch):
    put(memory, "/scans/a.png")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Forbidden")

    monkeypatch.setattr(type(memory), "info", refuse)
    with pytest.raises(SettingError, match="nothing to plan: memory://scans: cannot be read: Forbidden"):
        plan(["memory://scans"], tmp_path / "out")


PEAK_OF_A_PLAN = """
import sys
from pathlib import Path

from peak_memory import peak_memory

from modeling_chromagan.scale import listing
from modeling_chromagan.scale.plan import make_plan_of_shards


def peak(count):
    names = (Path(f"{number:07}.png") for number in range(count))
    listing.find_places = lambda here, out, plan: ((Path("/in") / name, name) for name in names)
    listing.measure = lambda path: (1, 1)
    make_plan_of_shards(["x"], f"{sys.argv[1]}/{count}", None, 500)
    return peak_memory()


print(peak(20_000), peak(80_000))  # two batches at least: what a batch takes is in both
"""


@pytest.mark.slow
@needs_peaks
def test_memory_grows_with_the_names_alone(tmp_path):
    small, large = measure_alone(PEAK_OF_A_PLAN, tmp_path)
    assert 100 < (large - small) / 60_000 < 500  # bytes a picture
