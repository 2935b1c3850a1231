"""What a run would do, without doing it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from archived_results import colorized, record_all
from picture_files import write_picture
from PIL import Image

from modeling_chromagan.archive.engine import Run
from modeling_chromagan.archive.forecast import foresee
from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.manifest import Manifest, Record
from modeling_chromagan.archive.output_plan import Task
from modeling_chromagan.archive.run_settings import RunSettings


def forecasts(folder, *names, **settings):
    store = LocalStore(folder / "out")
    settings = RunSettings(**settings)
    run = Run(store, Manifest(store.manifest()), settings, lambda: pytest.fail("loaded"), model="m", weights="ab12")
    return [foresee(run, Task(folder / "in" / name, name)) for name in names]


def test_every_input_gets_what_would_happen_and_why_and_nothing_is_written(tmp_path):
    write_picture(tmp_path / "in" / "new.png")
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "in" / "color.png")
    (tmp_path / "in" / "damaged.png").write_bytes((tmp_path / "in" / "new.png").read_bytes()[:90])
    names = ("new.png", "color.png", "damaged.png", "gone.png")
    found = forecasts(tmp_path, *names)
    assert [item.status for item in found] == ["would colorize", "already in color", "refused", "refused"]
    assert str(found[0]) == f"{tmp_path / 'in' / 'new.png'} -> new.png: would colorize: new"
    assert found[3].reason == "no such file or directory"
    assert str(tmp_path) not in found[2].reason
    assert not (tmp_path / "out").exists()
    assert json.loads(found[0].json_line()) == {
        "input": str(tmp_path / "in" / "new.png"),
        "output": "new.png",
        "status": "would colorize",
        "reason": "new",
    }
    assert forecasts(tmp_path, "color.png", recolor=True)[0].status == "would colorize"
    assert [item.status for item in forecasts(tmp_path, "new.png", max_pixels=100)] == ["refused"]


def test_what_was_done_before_counts(tmp_path):
    records = [colorized(tmp_path, f"{name}.png") for name in ("same", "gone", "edited", "changed")]
    records.append(Record("crashed.png", "crashed", "crashed.png", tries=5))
    out = record_all(tmp_path, *records)
    (out / "gone.png").unlink()
    (out / "edited.png").write_bytes(b"edited")
    write_picture(tmp_path / "in" / "changed.png", seed=9)
    before = sorted(os.listdir(out)), (out / ".chromagan" / "manifest.jsonl").read_bytes()
    names = ("same", "gone", "edited", "changed", "crashed")
    assert [(item.status, item.reason) for item in forecasts(tmp_path, *(f"{name}.png" for name in names))] == [
        ("kept", "same as before"),
        ("would colorize", "gone.png is gone"),
        ("kept", "was edited since it was made"),
        ("would colorize", "its content has changed"),
        ("crashed", "the program ended 5 times while at it"),
    ]
    assert before == (sorted(os.listdir(out)), (out / ".chromagan" / "manifest.jsonl").read_bytes())
    assert forecasts(tmp_path, "same.png", saturation=1.5)[0].reason == "settings have changed"


def test_a_result_of_another_input_would_not_be_replaced(tmp_path):
    made = colorized(tmp_path, "a.png", "other/a.png")
    record_all(tmp_path, made)
    write_picture(tmp_path / "in" / "a.png", seed=1)
    (found,) = forecasts(tmp_path, "a.png")
    assert (found.status, found.reason.partition("; ")[0]) == (
        "refused",
        f"{tmp_path / 'out' / 'a.png'} is the result of {made.input}, which is still there",
    )


def test_a_picture_that_the_format_cannot_hold_would_be_refused(tmp_path):
    Image.new("L", (16_384, 2), 100).save(tmp_path / "wide.png")
    store = LocalStore(tmp_path / "out")

    def found(name, **options):
        run = Run(store, Manifest(store.manifest()), RunSettings(), lambda: None, model="m", weights="w", **options)
        return foresee(run, Task(tmp_path / "wide.png", name))

    assert [found(name).status for name in ("a.webp", "a.png")] == ["refused", "would colorize"]
    Image.new("L", (8_192, 2), 100).save(tmp_path / "wide.png")
    assert found("a.webp").status == "would colorize"
    found = found("a.webp", compare=True)
    assert (found.status, found.reason) == (
        "refused",
        f"{tmp_path / 'out' / 'a.compare.webp'}: the picture has 16384 x 2 pixels, WEBP holds at most 16383 a side; "
        "choose PNG or TIFF",
    )


def test_every_page_is_read(tmp_path):
    gray = Image.fromarray(write_picture(tmp_path / "in" / "unused.png", 300, 400))
    noise = Image.effect_noise((400, 300), 80)
    gray.save(tmp_path / "in" / "pages.tif", save_all=True, append_images=[gray, noise])
    assert forecasts(tmp_path, "pages.tif")[0].status == "would colorize"
    data = (tmp_path / "in" / "pages.tif").read_bytes()
    Path(tmp_path / "in" / "pages.tif").write_bytes(data[:-2000])
    (found,) = forecasts(tmp_path, "pages.tif")
    assert found.status == "refused"
