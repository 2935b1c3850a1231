"""Odd names, links and files, each with one answer, through the whole command."""

import errno
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from picture_files import files_in, is_colored, write_picture

from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.manifest import read_all
from modeling_chromagan.archive.run_lock import lock_run

ODD_NAMES = [
    "two\nlines.png",
    "-o.png",
    "--help.png",
    " spaces .png",
    "dots...png",
    "CON.png",
    "nul.tar.png",
    "a:b*c?.png",
    "\u202egpj.png",
    "\x1b[31mred.png",
    "\udcff\udcfe.png",
    "%41&amp;.png",
    "'; rm -rf ~.png",
    "x" * 251 + ".png",
    "dot./space /b.png",
]


def write_bytes(path: Path, seed: int = 0) -> None:
    """A small PNG under any name."""
    write_picture(path.parent / "plain.png", seed=seed)
    (path.parent / "plain.png").rename(path)


def test_odd_names_are_kept(run, tmp_path):
    for name in ODD_NAMES:
        write_bytes(tmp_path / "in" / name)
    code, out, err = run(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, out, err) == (0, [f"{len(ODD_NAMES)} colorized, 0 kept, 0 failed, 0 not pictures"], [])
    assert files_in(tmp_path / "out") == sorted(ODD_NAMES)
    assert all(is_colored(tmp_path / "out" / name) for name in ODD_NAMES)
    assert {record.name for record in read_all(tmp_path / "out")} == set(ODD_NAMES)
    code, out, _ = run(tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert [json.loads(line)["status"] for line in out] == ["kept"] * len(ODD_NAMES)
    assert {json.loads(line)["output"] for line in out} == set(ODD_NAMES)


def test_a_name_with_a_dash_in_front_can_be_given(run, tmp_path, monkeypatch):
    write_bytes(tmp_path / "-o.png")
    monkeypatch.chdir(tmp_path)
    assert run("./-o.png", "-o", "1")[0] == 0
    assert run("-o", "2", "--", "-o.png")[0] == 0
    assert files_in(tmp_path / "1") == files_in(tmp_path / "2") == ["-o.png"]


def test_names_that_grow_too_long_are_cut(run, tmp_path):
    name = "\u65e5" * 83 + ".bmp"
    write_picture(tmp_path / "in" / name)
    code, _, err = run(tmp_path / "in", "-o", tmp_path / "out", "--format", "jpeg", "--compare")
    assert (code, err) == (0, [])
    compared, result = files_in(tmp_path / "out")
    assert result == "\u65e5" * 83 + ".jpg"
    assert compared.startswith("\u65e5" * 70)
    assert compared.endswith(".compare.jpg")
    code, out, _ = run(tmp_path / "in", "-o", tmp_path / "out", "--format", "jpeg", "--compare")
    assert out == ["0 colorized, 1 kept, 0 failed, 0 not pictures"]


def test_what_is_no_picture_file_fails_by_name(run, tmp_path):
    folder = tmp_path / "in"
    write_picture(folder / "a.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "circle.png").symlink_to(folder / "circle.png")
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "empty.png").touch()
    code, out, err = run(folder, "/dev/zero", "-o", tmp_path / "out")
    assert (code, out) == (1, ["1 colorized, 0 kept, 5 failed, 0 not pictures"])
    assert err == [
        f"error: {folder / 'circle.png'}: too many levels of symbolic links",
        f"error: {folder / 'dangling.png'}: no such file or directory",
        f"error: {folder / 'empty.png'}: the file is empty",
        f"error: {folder / 'pipe.png'}: is not a regular file",
        "error: /dev/zero: is not a regular file",
    ]
    assert files_in(tmp_path / "out") == ["a.png"]


def test_links_are_followed_and_outputs_are_not(run, tmp_path):
    write_picture(tmp_path / "shelf" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "shelf" / "a.png")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "shelf")
    (tmp_path / "shelf" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "precious.png").write_bytes(b"precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").symlink_to(tmp_path / "precious.png")
    code, _, err = run(tmp_path / "in", "-o", tmp_path / "out", "--overwrite")
    assert (code, err) == (0, [])
    assert files_in(tmp_path / "out") == ["b.png", "folder/a.png"]
    assert not (tmp_path / "out" / "b.png").is_symlink()
    assert (tmp_path / "precious.png").read_bytes() == b"precious"


def test_a_result_that_is_called_as_a_folder_fails_by_name(run, tmp_path):
    write_picture(tmp_path / "in" / "a.bmp")
    write_picture(tmp_path / "in" / "a.png" / "b.png")
    code, out, err = run(tmp_path / "in", "-o", tmp_path / "out", "--workers", 1)
    assert (code, out, len(err)) == (1, ["1 colorized, 0 kept, 1 failed, 0 not pictures"], 1)
    assert "cannot be written" in err[0]


@pytest.mark.parametrize("change", ["vanish", "truncate", "refuse"])
def test_a_file_that_changes_before_it_is_read_fails_alone(run, tmp_path, monkeypatch, change):
    for name in ("a.png", "b.png", "c.png"):
        write_picture(tmp_path / "in" / name)
    victim, open_path, read = tmp_path / "in" / "b.png", Path.open, LocalStore.read

    def refuse(path, *arguments, **options):
        if path == victim:
            raise PermissionError(13, "Permission denied")
        return open_path(path, *arguments, **options)

    def read_after_the_change(self, source):
        if source == victim and change == "vanish":
            victim.unlink()
        if source == victim and change == "truncate":
            os.truncate(victim, 100)
        return read(self, source)

    monkeypatch.setattr(LocalStore, "read", read_after_the_change)
    if change == "refuse":
        monkeypatch.setattr(Path, "open", refuse)
    code, out, (line,) = run(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, out) == (1, ["2 colorized, 0 kept, 1 failed, 0 not pictures"])
    assert line.startswith(f"error: {victim}: ")
    assert files_in(tmp_path / "out") == ["a.png", "c.png"]


def test_a_name_that_the_file_system_of_the_results_refuses_fails_alone(run, tmp_path, monkeypatch):
    for name in ("a.png", "b:c.png"):
        write_picture(tmp_path / "in" / name)
    for kind in ("replace", "rename"):
        rename = getattr(Path, kind)

        def refuse(self, target, rename=rename):
            if ":" in os.path.basename(target):
                raise OSError(22, "Invalid argument")
            return rename(self, target)

        monkeypatch.setattr(Path, kind, refuse)
    code, out, (line,) = run(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, out) == (1, ["1 colorized, 0 kept, 1 failed, 0 not pictures"])
    assert line.startswith(f"error: {tmp_path / 'out' / 'b:c.png'}: cannot be written: ")
    assert files_in(tmp_path / "out") == ["a.png"]


def test_results_of_other_runs_are_no_inputs(run, tmp_path):
    write_picture(tmp_path / "a.png")
    assert run(tmp_path, "-o", tmp_path / "first")[1] == ["1 colorized, 0 kept, 0 failed, 0 not pictures"]
    code, out, err = run(tmp_path, "-o", tmp_path / "second")
    assert (code, out) == (0, ["1 colorized, 0 kept, 0 failed, 0 not pictures"])
    assert err == [f"note: {tmp_path / 'first'}: holds results of another run, and is left out"]
    assert files_in(tmp_path / "second") == ["a.png"]


def test_standard_input_shares_no_result(run, tmp_path, monkeypatch):
    write_picture(tmp_path / "in" / "stdin.png")
    data = (tmp_path / "in" / "stdin.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    code, out, err = run("-", tmp_path / "in", "-o", tmp_path / "out")
    assert (code, out, len(err)) == (2, [], 1)
    assert f"{tmp_path / 'in' / 'stdin.png'} and - would both become {tmp_path / 'out' / 'stdin.png'}" in err[0]


def test_two_runs_at_once_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr("modeling_chromagan.archive.run_lock.PATIENCE", 0.01)
    write_picture(tmp_path / "a.png")
    with lock_run(tmp_path / "out"):
        code, out, (line,) = run(tmp_path / "a.png", "-o", tmp_path / "out")
    assert (code, out) == (2, [])
    assert f"another run (process {os.getpid()} " in line
    assert files_in(tmp_path / "out") == []


def test_another_picture_of_the_same_name_does_not_replace_a_result(run, tmp_path):
    write_picture(tmp_path / "1" / "a.png", seed=1)
    write_picture(tmp_path / "2" / "a.png", seed=2)
    assert run(tmp_path / "1" / "a.png", "-o", tmp_path / "out")[0] == 0
    before = (tmp_path / "out" / "a.png").read_bytes()
    code, out, (line,) = run(tmp_path / "2" / "a.png", "-o", tmp_path / "out")
    assert (code, out) == (1, ["0 colorized, 0 kept, 1 failed, 0 not pictures"])
    owner = tmp_path / "1" / "a.png"
    assert line == f"error: {tmp_path / '2' / 'a.png'}: {tmp_path / 'out' / 'a.png'} is the result of {owner}, " + (
        "which is still there; choose another OUT, or --overwrite"
    )
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    assert run(tmp_path / "1" / "a.png", "-o", tmp_path / "out")[1][0].startswith("0 colorized, 1 kept")
    (tmp_path / "1").rename(tmp_path / "3")
    assert run(tmp_path / "3" / "a.png", "-o", tmp_path / "out")[1][0].startswith("0 colorized, 1 kept")
    assert run(tmp_path / "2" / "a.png", "-o", tmp_path / "out")[1][0].startswith("1 colorized, 0 kept")


@pytest.mark.parametrize("renames", [True, False])
def test_results_on_a_share_that_cannot_replace_files(run, tmp_path, monkeypatch, renames):
    write_picture(tmp_path / "in" / "a.png")
    write_picture(tmp_path / "out" / "a.png")
    before = (tmp_path / "out" / "a.png").read_bytes()

    def refuse(self, target):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(Path, "replace", refuse)
    if not renames:
        monkeypatch.setattr(Path, "rename", refuse)
    code, _, err = run(tmp_path / "in", "-o", tmp_path / "out", "--overwrite")
    assert files_in(tmp_path / "out") == ["a.png"]
    if renames:
        assert (code, err) == (0, [])
        assert is_colored(tmp_path / "out" / "a.png")
    else:
        assert (code, len(err)) == (1, 1)
        assert err[0].startswith(f"error: {tmp_path / 'out' / 'a.png'}: cannot be written: ")
        assert (tmp_path / "out" / "a.png").read_bytes() == before
