"""What a run leaves behind explains itself, and is complete."""

import json
import re

import torch
from PIL import Image

from modeling_chromagan.training.run.folder import RunFolder


def test_run_folder_explains_itself(finished_run):
    environment = json.loads((finished_run / "environment.json").read_text(encoding="utf-8"))
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["commit"] is None or re.fullmatch(r"[0-9a-f]{40}\+?", environment["commit"])
    report = json.loads((finished_run / "data_report.json").read_text(encoding="utf-8"))
    assert set(report["rejected"]) == {"pictures"}
    assert set(report["retries"]) == {"pictures"}
    with Image.open(finished_run / "curves.png") as curves:
        assert min(curves.size) > 300
    assert not list(finished_run.rglob(".*"))


def test_pictures_are_written_as_all_pictures_are(tmp_path):
    """As sRGB that says so, and whole: nothing else is in the folder, nor what a kill left there before."""
    folder = RunFolder(tmp_path / "run")
    folder.open("name: drawn\n", 0)
    folder.save_grid(20, Image.new("RGB", (4, 4), (10, 20, 30)))
    (tmp_path / "run" / "samples" / ".0123.part").write_bytes(b"half")
    folder.open("name: drawn\n", 20)
    assert [path.name for path in (tmp_path / "run" / "samples").iterdir()] == ["00000020.png"]
    folder.log.write(20, "color", {"total": 1.0})
    folder.draw_curves()
    for path in ("samples/00000020.png", "curves.png"):
        with Image.open(tmp_path / "run" / path) as picture:
            assert picture.mode == "RGB"
            assert "srgb" in picture.info


def test_a_run_without_figures_has_no_curves(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open("name: drawn\n", 0)
    folder.draw_curves()
    assert not (tmp_path / "run" / "curves.png").exists()
