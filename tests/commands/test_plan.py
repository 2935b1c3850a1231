"""`chromagan plan`: what it says."""

import sys

from picture_files import write_picture

from modeling_chromagan import cli


def test_the_command_says_what_was_planned(tmp_path, capsys):
    write_picture(tmp_path / "in" / "a.png")
    write_picture(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.txt").touch()
    arguments = ["plan", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--per-shard", "1"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr() == ("2 pictures in 2 shards, 2 new, 0 gone, 1 not pictures\n", "")
    (tmp_path / "in" / "b.png").unlink()
    assert cli.main(["plan", str(tmp_path / "gone"), *arguments[1:]]) == 1
    assert capsys.readouterr() == (
        "1 pictures in 2 shards, 0 new, 1 gone, 1 not pictures\n",
        f"error: {tmp_path / 'gone'}: there is no such file or folder\n",
    )


def test_without_the_extra_there_is_a_hint(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "modeling_chromagan.scale.plan", raising=False)
    assert cli.main(["plan", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    _, error = capsys.readouterr()
    assert error == 'chromagan plan: error: plans need pyarrow and fsspec: pip install "chromagan[scale]"\n'
