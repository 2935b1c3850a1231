"""Which picture becomes which file, and what is refused before any work."""

import os
import re
from pathlib import Path

import pytest
from picture_files import files_in, write_picture

from modeling_chromagan import cli
from modeling_chromagan.archive import output_plan


def test_where_case_does_not_count_names_that_differ_in_case_get_marks(tmp_path, monkeypatch):
    names = ("1/a.bmp", "1/A.png", "2/a.jpg", "2/A.JPG", "3/\u00e9.png", "3/e\u0301.png", "4/b.png", "4/deep/b.png")
    for name in names:
        write_picture(tmp_path / name)
    places = [tmp_path / "1", tmp_path / "2", tmp_path / "3", tmp_path / "4"]
    planned = output_plan.make_plan(places, tmp_path / "out", None, compare=False)
    as_named = ["A.png", "a.png", "A.JPG", "a.jpg", "e\u0301.png", "\u00e9.png", "b.png", "deep/b.png"]
    assert [task.name for task in planned.tasks] == as_named
    monkeypatch.setattr(output_plan, "comparison_key", lambda folder: output_plan.fold_case)
    names = [task.name for task in output_plan.make_plan(places, tmp_path / "out", None, compare=False).tasks]
    assert len({output_plan.fold_case(Path(name)) for name in names}) == 8
    assert names[:2] == ["A.png.png", "a.bmp.png"]
    assert [re.sub("~[0-9a-f]{8}", "~", name) for name in names[2:6]] == [
        "A~.JPG",
        "a~.jpg",
        "e\u0301~.png",
        "\u00e9~.png",
    ]
    assert names[6:] == ["b.png", "deep/b.png"]


@pytest.mark.parametrize("names", [("1/a.png", "2/a.png"), ("1/a.bmp", "1/a.png", "2/a.bmp.png")])
def test_names_that_stay_equal_are_refused_before_any_work(run, tmp_path, no_model, names):
    for name in names:
        write_picture(tmp_path / name)
    code, out, (line,) = run(*(tmp_path / name for name in names), "-o", tmp_path / "out")
    assert (code, out) == (2, [])
    first, last = tmp_path / names[0], tmp_path / names[-1]
    assert line.startswith(
        f"chromagan colorize: error: {first} and {last} would both become {tmp_path / 'out'}{os.sep}"
    )
    assert not (tmp_path / "out").exists()


def test_whether_case_counts_is_asked_of_the_file_system(tmp_path):
    (tmp_path / "Folder").mkdir()
    case_counts = not (tmp_path / "fOLDER").exists()
    assert output_plan.comparison_key(tmp_path / "Folder" / "new" / "deeper") is (
        str if case_counts else output_plan.fold_case
    )
    if case_counts:
        (tmp_path / "fOLDER").symlink_to(tmp_path / "Folder")
        assert output_plan.comparison_key(tmp_path / "Folder" / "new") is output_plan.fold_case
    assert output_plan.fold_case(Path("\u00c9t\u00e9")) == output_plan.fold_case(Path("e\u0301TE\u0301"))


@pytest.mark.parametrize("arguments", [[], ["--overwrite"]])
def test_no_output_lands_on_an_input(run, tmp_path, no_model, arguments):
    write_picture(tmp_path / "in" / "a.png", seed=1)
    write_picture(tmp_path / "tree" / "in" / "a.bmp", seed=2)
    before = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "in" / "a.png")
    for inputs, out_folder in (
        (["in/a.png"], "in"),
        (["in/a.png"], "link"),
        (["link/a.png"], "in"),
        (["in"], "in"),
        (["in"], "link"),
        (["in"], "out"),
        (["in/a.png"], "tree/../in"),
        (["tree", "in/a.png"], "."),
    ):
        code, out, err = run(*(tmp_path / path for path in inputs), "-o", tmp_path / out_folder, *arguments)
        assert (code, out, len(err)) == (2, [], 1), (inputs, out_folder)
        assert "choose another OUT" in err[0]
    assert (tmp_path / "in" / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    ("output_format", "suffix"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp"), ("tiff", "tif")]
)
def test_format_and_names_that_would_be_equal(run, tmp_path, output_format, suffix):
    for seed, name in enumerate(("a.bmp", "a.gif", "b.avif")):
        write_picture(tmp_path / "in" / name, seed=seed)
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--format", output_format)[0] == 0
    assert files_in(tmp_path / "out") == [f"a.bmp.{suffix}", f"a.gif.{suffix}", f"b.{suffix}"]


def test_results_may_lie_beside_their_inputs_under_another_name(run, tmp_path):
    write_picture(tmp_path / "a.bmp")
    assert run(tmp_path / "a.bmp", "-o", tmp_path)[0] == 0
    assert files_in(tmp_path) == ["a.bmp", "a.png"]


def test_files_and_folders_can_be_mixed_and_named_twice(run, tmp_path):
    write_picture(tmp_path / "in" / "a.png", seed=1)
    write_picture(tmp_path / "in" / "sub" / "b.png", seed=2)
    write_picture(tmp_path / "elsewhere" / "c.png", seed=3)
    inputs = (tmp_path / "in", tmp_path / "in" / "a.png", tmp_path / "elsewhere" / "c.png", tmp_path / "in")
    assert run(*inputs, "-o", tmp_path / "out") == (0, ["3 colorized, 0 kept, 0 failed, 0 not pictures"], [])
    assert files_in(tmp_path / "out") == ["a.png", "c.png", "sub/b.png"]


def test_linked_folders_are_followed_but_not_in_circles(run, tmp_path):
    write_picture(tmp_path / "in" / "a.png")
    write_picture(tmp_path / "shelf" / "b.png")
    (tmp_path / "in" / "shelf").symlink_to(tmp_path / "shelf")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    assert run(tmp_path / "in", "-o", tmp_path / "out") == (
        0,
        ["2 colorized, 0 kept, 0 failed, 0 not pictures"],
        [],
    )
    assert files_in(tmp_path / "out") == ["a.png", "shelf/b.png"]


def test_out_inside_input_is_left_out(run, tmp_path):
    write_picture(tmp_path / "a.png")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "colorized")
    assert run(tmp_path, "-o", tmp_path / "colorized", "--quiet") == (0, [], [])
    for out_folder in (tmp_path / "colorized", link):
        assert run(tmp_path, "-o", out_folder) == (0, ["0 colorized, 1 kept, 0 failed, 0 not pictures"], [])
    assert files_in(tmp_path / "colorized") == ["a.png"]


def test_a_folder_that_cannot_be_read_is_a_failure_until_it_is_read(run, tmp_path, monkeypatch, capsys):
    write_picture(tmp_path / "in" / "a.png")
    locked = tmp_path / "in" / "locked"
    write_picture(locked / "b.png")
    listdir = os.listdir

    def refuse(path):
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    def status(*options):
        return cli.main(["status", str(tmp_path / "out"), *options]), capsys.readouterr().out.splitlines()

    with monkeypatch.context() as patch:
        patch.setattr(output_plan.os, "listdir", refuse)
        code, out, err = run(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, err) == (1, [f"error: {locked}: cannot be read: Permission denied"])
    assert out == ["1 colorized, 0 kept, 1 failed, 0 not pictures"]
    code, lines = status("--report", str(tmp_path / "r.csv"))
    assert (code, lines[0]) == (1, f"unread: {locked}: cannot be read: Permission denied")
    assert lines[1].endswith("1 colorized, 0 failed, 1 could not be read")
    assert f"{locked},unread,cannot be read: Permission denied" in (tmp_path / "r.csv").read_text(encoding="utf-8")
    assert run(tmp_path / "in", "-o", tmp_path / "out") == (0, ["1 colorized, 1 kept, 0 failed, 0 not pictures"], [])
    assert status()[0] == 0


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u65e5", "\udcff"])
def test_names_that_would_be_too_long_are_cut_and_stay_apart(tmp_path, letter):
    width = len(os.fsencode(letter))
    stems = [letter * (250 // width - 1) + end for end in ("a", "b")]
    for stem in stems:
        write_picture(tmp_path / "in" / "a.gif").tofile(tmp_path / "in" / f"{stem}.gif")
        write_picture(tmp_path / "in" / "a.gif").tofile(tmp_path / "in" / f"{stem}.bmp")
    (tmp_path / "in" / "a.gif").unlink()
    plan = output_plan.make_plan([tmp_path / "in"], tmp_path / "out", "jpeg", compare=True)
    names = [task.name for task in plan.tasks]
    names += [output_plan.compare_name(name) for name in names]
    names += [output_plan.page_name(name, number) for name in names[:4] for number in (2, 3, 10_000)]
    assert len(set(names)) == 4 + 4 + 12
    (tmp_path / "out").mkdir()
    for name in names:
        assert Path(name).suffix == ".jpg"
        (tmp_path / "out" / name).touch()
    assert output_plan.compare_name("deep/a.png") == "deep/a.compare.png"
    assert output_plan.page_name("deep/a.png", 1) == "deep/a.png"
    assert output_plan.page_name("deep/a.png", 12) == "deep/a.page-0012.png"


def test_a_picture_that_is_called_as_a_page_of_another_gets_a_mark(tmp_path):
    for name in ("a.tif", "a.page-0002.tif", "a.compare.png", "b.page-0002.tif", "c.page-two.tif", "c.tif"):
        write_picture(tmp_path / "in" / name)
    plan = output_plan.make_plan([tmp_path / "in"], tmp_path / "out", "png", compare=True)
    names = [re.sub("~[0-9a-f]{8}", "~", task.name) for task in plan.tasks]
    assert names == ["a.compare~.png", "a.page-0002~.png", "a.png", "b.page-0002.png", "c.page-two.png", "c.png"]


def test_folders_into_which_other_runs_have_written_are_left_out(tmp_path):
    for name in ("a.png", "color/a.png", "color/deep/b.png", "other/c.png"):
        write_picture(tmp_path / name)
    (tmp_path / "color" / ".chromagan").mkdir()
    plan = output_plan.make_plan([tmp_path], tmp_path / "out", None, compare=False)
    assert [task.name for task in plan.tasks] == ["a.png", "other/c.png"]
    assert plan.notes == [f"{tmp_path / 'color'}: holds results of another run, and is left out"]
    plan = output_plan.make_plan([tmp_path / "color"], tmp_path / "out", None, compare=False)
    assert [task.name for task in plan.tasks] == ["a.png", "deep/b.png"]
