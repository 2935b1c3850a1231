"""What a command says: notes, errors, progress, and nothing that libraries say."""

import sys

from picture_files import write_picture
from PIL import Image


def test_notes_are_one_line_each_and_quiet_has_none(run, tmp_path):
    pages = [Image.fromarray(write_picture(tmp_path / "unused.png", seed=seed)) for seed in (0, 1)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    Image.merge("LA", pages).save(tmp_path / "alpha.png")
    arguments = (
        tmp_path / "pages.tif",
        tmp_path / "alpha.png",
        "--format",
        "jpeg",
        "--overwrite",
        "-o",
        tmp_path / "out",
    )
    code, out, err = run(*arguments)
    assert (code, len(out), len(err)) == (0, 1, 2)
    assert err[0].startswith(f"note: {tmp_path / 'pages.tif'}: ")
    assert err[1].startswith(f"note: {tmp_path / 'out' / 'alpha.jpg'}: JPEG has no transparency")
    assert run(*arguments, "--quiet") == (0, [], [])
    code, out, err = run(tmp_path / "missing.png", "-o", tmp_path / "out", "--quiet")
    assert (code, out, len(err)) == (1, [], 1)


def test_a_terminal_gets_a_progress_bar(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    (tmp_path / "in" / "c.png").touch()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    code, _, err = run(tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1
    assert "3/3" in err[-1]
    assert sum("error: " in line for line in err) == 1
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--overwrite", "--quiet")[2] == [
        line for line in err if line.startswith("error: ")
    ]


def test_libraries_talk_as_before_once_the_command_is_done(run, tmp_path):
    from transformers.utils import logging

    write_picture(tmp_path / "a.png")
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    assert run(tmp_path / "a.png", "-o", tmp_path / "out")[0] == 0
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
