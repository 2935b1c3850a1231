"""The command as users meet it: files, lines on the screen, exit codes."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import files_in, is_colored, read_picture, write_picture
from PIL import Image

from modeling_chromagan import PACKAGED_WEIGHTS
from modeling_chromagan.archive import writing
from modeling_chromagan.color import lightness_to_gray, rgb_to_lab
from modeling_chromagan.image_processing_chromagan import ChromaGANImageProcessor
from modeling_chromagan.pipeline_chromagan import ChromaGANPipeline

# ----------------------------------------------------------------------------------------- what becomes of a folder


@pytest.mark.slow
def test_the_packaged_model_makes_a_picture_of_anything_gray(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 600)).astype(np.uint8)
    pictures = {
        "one pixel": noise[:1, :1],
        "one pixel wide": noise[:, :1],
        "one pixel high": noise[:1],
        "three pixels": noise[:3, :1],
        "below 32 pixels": noise[:20, :31],
        "thin": noise[:20],
        "white": np.full((200, 300), 255, np.uint8),
        "black": np.zeros((200, 300), np.uint8),
        "white pixel": np.full((1, 1), 255, np.uint8),
        "flat": np.full((200, 300), 128, np.uint8),
    }
    (tmp_path / "in").mkdir()
    for name, gray in pictures.items():
        Image.fromarray(gray).save(tmp_path / "in" / f"{name}.png")
    code, _, err = run(tmp_path / "in", "-o", tmp_path / "out", "--model", PACKAGED_WEIGHTS)
    assert (code, err) == (0, [])
    for name, gray in pictures.items():
        rgb = torch.from_numpy(read_picture(tmp_path / "out" / f"{name}.png")).permute(2, 0, 1).double() / 255
        luminance = (255 * lightness_to_gray(rgb_to_lab(rgb)[0])).round().byte()
        assert torch.equal(luminance, torch.from_numpy(gray)), name


def test_a_folder_becomes_the_same_tree_in_color(run, tmp_path):
    names = ("a.jpg", "b.PNG", "deep/er/c.tif", "deep/d.webp", "deep/e.bmp", "f.gif", "g.jpeg")
    for seed, name in enumerate(names):
        write_picture(tmp_path / "in" / name, 40 + seed, 50 + 2 * seed, seed)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / "deep" / "SOURCES.csv").write_text("no picture")
    write_picture(tmp_path / "in" / ".thumbnails" / "a.jpg")
    write_picture(tmp_path / "in" / ".hidden.jpg")

    code, out, err = run(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, err) == (0, [])
    assert out == ["7 colorized, 0 kept, 0 failed, 2 not pictures"]
    expected = ["a.jpg", "b.PNG", "deep/d.webp", "deep/e.png", "deep/er/c.tif", "f.png", "g.jpeg"]
    assert files_in(tmp_path / "out") == expected
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".webp": "WEBP"}
    for seed, name in enumerate(names):
        place = Path(name).with_suffix(".png") if name.endswith(("bmp", "gif")) else Path(name)
        with Image.open(tmp_path / "out" / place) as result:
            assert result.size == (50 + 2 * seed, 40 + seed)
            assert result.format == formats[place.suffix.lower()]
        assert is_colored(tmp_path / "out" / place)


def test_a_picture_without_a_pictures_name_is_read_if_it_is_named_itself(run, tmp_path):
    write_picture(tmp_path / "in" / "plate.png")
    (tmp_path / "in" / "plate.png").rename(tmp_path / "in" / "plate")
    assert run(tmp_path / "in", "-o", tmp_path / "out")[1] == ["0 colorized, 0 kept, 0 failed, 1 not pictures"]
    assert run(tmp_path / "in" / "plate", "-o", tmp_path / "out")[0] == 0
    assert files_in(tmp_path / "out") == ["plate.png"]


# ------------------------------------------------------------------------------------------------------ bad files


def test_a_bad_file_is_named_and_the_others_are_finished(run, tmp_path):
    for seed, name in enumerate(("a.png", "z.png")):
        write_picture(tmp_path / "in" / name, seed=seed)
    (tmp_path / "in" / "broken.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:90])
    (tmp_path / "in" / "empty.jpg").touch()
    (tmp_path / "in" / "gone.tif").symlink_to(tmp_path / "nowhere.tif")
    code, out, err = run(tmp_path / "in", tmp_path / "missing.png", "-o", tmp_path / "out", "--workers", 2)
    assert code == 1
    assert out == ["2 colorized, 0 kept, 4 failed, 0 not pictures"]
    assert len(err) == 4
    for line, name in zip(err, ("missing.png", "in/broken.png", "in/empty.jpg", "in/gone.tif"), strict=True):
        assert line.startswith(f"error: {tmp_path / name}: ")
    assert files_in(tmp_path / "out") == ["a.png", "z.png"]


def test_too_many_pixels_are_refused_by_name(run, tmp_path):
    write_picture(tmp_path / "a.png", 40, 50)
    code, out, (line,) = run(tmp_path / "a.png", "-o", tmp_path / "out", "--max-pixels", 1999)
    assert (code, out) == (1, ["0 colorized, 0 kept, 1 failed, 0 not pictures"])
    assert line.startswith(f"error: {tmp_path / 'a.png'}: ")
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--max-pixels", 2000)[0] == 0


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.jpg", "c.png"):
        write_picture(tmp_path / "in" / name)

    def fill_the_disk(pages, file, settings):
        file.write(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(writing.WRITERS, "jpeg", fill_the_disk)
    code, out, err = run(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, out) == (1, ["2 colorized, 0 kept, 1 failed, 0 not pictures"])
    assert err == [f"error: {tmp_path / 'out' / 'b.jpg'}: cannot be written: No space left on device"]
    assert files_in(tmp_path / "out") == ["a.png", "c.png"]


def test_an_interruption_ends_quietly_and_leaves_whole_pictures_only(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.jpg", "c.png"):
        write_picture(tmp_path / "in" / name)

    def interrupt(pages, file, settings):
        file.write(b"half a picture")
        raise KeyboardInterrupt

    monkeypatch.setitem(writing.WRITERS, "jpeg", interrupt)
    interrupted = (130, [], ["chromagan colorize: interrupted"])
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--workers", 1) == interrupted
    assert {"a.png"} <= set(files_in(tmp_path / "out")) <= {"a.png", "c.png"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "too large for the memory that is free"),
        (RuntimeError("CUDA out of memory\nTried to allocate"), "CUDA out of memory"),
    ],
)
def test_a_picture_too_large_for_the_memory_fails_alone(run, tmp_path, monkeypatch, error, reason):
    for height in (40, 41, 42):
        write_picture(tmp_path / "in" / f"{height}.png", height)
    forward = ChromaGANPipeline._forward

    def run_out_of_memory(self, model_inputs):
        if model_inputs["originals"][0].original.gray.shape[0] == 41:
            raise error
        return forward(self, model_inputs)

    monkeypatch.setattr(ChromaGANPipeline, "_forward", run_out_of_memory)
    code, out, err = run(tmp_path / "in", "-o", tmp_path / "out", "--workers", 2)
    assert (code, out) == (1, ["2 colorized, 0 kept, 1 failed, 0 not pictures"])
    assert err == [f"error: {tmp_path / 'in' / '41.png'}: {reason}"]
    assert files_in(tmp_path / "out") == ["40.png", "42.png"]


# --------------------------------------------------------------------------------------------- names and overwriting


def test_existing_results_are_kept_unless_overwritten(run, tmp_path, model_folder):
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"edited by hand")
    code, out, err = run(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, out, err) == (0, ["1 colorized, 1 kept, 0 failed, 0 not pictures"], [])
    assert (tmp_path / "out" / "a.png").read_bytes() == b"edited by hand"
    code, out, err = run(tmp_path / "in", "-o", tmp_path / "out", "--overwrite")
    assert (code, out, err) == (0, ["2 colorized, 0 kept, 0 failed, 0 not pictures"], [])
    assert is_colored(tmp_path / "out" / "a.png")


def test_nothing_left_to_do_needs_no_model(run, tmp_path, no_model):
    write_picture(tmp_path / "in" / "a.png")
    write_picture(tmp_path / "out" / "a.png")
    assert run(tmp_path / "in", "-o", tmp_path / "out") == (
        0,
        ["0 colorized, 1 kept, 0 failed, 0 not pictures"],
        [],
    )


@pytest.mark.parametrize(("output_format", "suffix"), [("png", "png"), ("tiff", "tif"), ("webp", "webp")])
def test_every_gray_value_survives_in_lossless_formats(run, tmp_path, output_format, suffix):
    gray = np.random.default_rng(0).permutation(np.arange(80 * 64) % 256).reshape(80, 64).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "a.png")
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--format", output_format)[0] == 0
    result = tmp_path / "out" / f"a.{suffix}"
    assert is_colored(result)
    rgb = torch.from_numpy(read_picture(result)).permute(2, 0, 1).double() / 255
    luminance = lightness_to_gray(rgb_to_lab(rgb)[0])
    np.testing.assert_array_equal(np.rint(luminance.numpy() * 255), gray)


def test_compare_adds_a_file_with_before_and_after(run, tmp_path):
    gray = write_picture(tmp_path / "in" / "a.png", 40, 56)
    Image.merge("LA", [Image.fromarray(gray)] * 2).save(tmp_path / "in" / "b.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "in" / "c.tif")
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--compare", "--format", "png")[0] == 0
    assert files_in(tmp_path / "out") == [f"{name}{middle}.png" for name in "abc" for middle in (".compare", "")]
    for name in "abc":
        both, after = (read_picture(tmp_path / "out" / f"{name}{middle}.png") for middle in (".compare", ""))
        assert both.shape == (40, 112, 3)
        np.testing.assert_array_equal(both[:, :56], np.repeat(gray[..., None], 3, axis=2))
        assert np.abs(both[:, 56:] - after).max() <= (1 if name == "c" else 0)  # which has 16 bits, and Pillow cuts 8
    with Image.open(tmp_path / "out" / "b.compare.png") as transparent:
        np.testing.assert_array_equal(np.asarray(transparent.getchannel("A")), np.tile(gray, 2))


def test_compare_adds_only_what_is_missing(run, tmp_path):
    write_picture(tmp_path / "in" / "a.png")
    write_picture(tmp_path / "out" / "a.png")
    before = (tmp_path / "out" / "a.png").read_bytes()
    code, out, _ = run(tmp_path / "in", "-o", tmp_path / "out", "--compare")
    assert (code, out) == (0, ["1 colorized, 0 kept, 0 failed, 0 not pictures"])
    assert (tmp_path / "out" / "a.png").read_bytes() == before
    assert files_in(tmp_path / "out") == ["a.compare.png", "a.png"]
    code, out, _ = run(tmp_path / "in", "-o", tmp_path / "out", "--compare")
    assert (code, out) == (0, ["0 colorized, 1 kept, 0 failed, 0 not pictures"])


# ---------------------------------------------------------------------------------------------------- settings


def test_workers_change_nothing_and_hold_no_more_pictures_than_there_are(run, tmp_path, monkeypatch):
    sizes = ((40, 56), (56, 40), (80, 112), (40, 56), (64, 64), (56, 40), (40, 56))
    for seed, (height, width) in enumerate(sizes):
        write_picture(tmp_path / "in" / f"{seed}.png", height, width, seed)
    load, loaded, most = ChromaGANImageProcessor.load, [], 0

    def load_and_count(self, image, **settings):
        nonlocal most
        picture = load(self, image, **settings)
        loaded.append(weakref.ref(picture))
        most = max(most, sum(reference() is not None for reference in loaded))
        return picture

    monkeypatch.setattr(ChromaGANImageProcessor, "load", load_and_count)
    for workers in (1, 3):
        most = 0
        assert run(tmp_path / "in", "-o", tmp_path / str(workers), "--workers", workers)[0] == 0
        assert most <= workers
    assert len(loaded) == 2 * len(sizes)
    for name in files_in(tmp_path / "1"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_settings_reach_the_network_and_the_composition(run, tmp_path):
    framed = np.full((96, 120), 8, np.uint8)
    framed[12:-12, 14:-14] = write_picture(tmp_path / "unused.png", 72, 92)
    Image.fromarray(framed).save(tmp_path / "a.png")
    results = {}
    for name, *arguments in (
        ("default",),
        ("keep", "--borders", "keep"),
        ("pale", "--saturation", "0.5"),
        ("gray", "--saturation", "0"),
        ("working size", "--working-size", 64),
        ("bfloat16", "--dtype", "bfloat16"),
        ("float32", "--dtype", "float32", "--device", "cpu"),
    ):
        code, _, err = run(tmp_path / "a.png", "-o", tmp_path / name, *arguments)
        assert (code, err) == (0, [])
        results[name] = read_picture(tmp_path / name / "a.png")
    default = results.pop("default")
    np.testing.assert_array_equal(results.pop("float32"), default)
    assert np.ptp(results["gray"], axis=2).max() == 0
    assert 0 < np.ptp(results["pale"], axis=2).mean() < 0.8 * np.ptp(default, axis=2).mean()
    for name, result in results.items():
        assert not np.array_equal(result, default), name
    assert np.ptp(default[:10], axis=2).max() == 0, "the margin is not neutral"
    assert np.ptp(results["keep"][:10], axis=2).max() > 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required"),
        (["a.png"], "required: -o/--out OUT, a folder for the results, such as -o colorized"),
        (["a.png", "-o", "out", "--format", "bmp"], "invalid choice: 'bmp'"),
        (["a.png", "-o", "out", "--workers", "0"], "'0'; accepted: N or MIN:MAX, from 1 to 10000"),
        (["a.png", "-o", "out", "--depth", "16", "--format", "jpeg"], "accepted with it: png, tiff, jp2"),
        (["a.png", "-o", "out", "--profile", "nowhere.icc"], "nowhere.icc"),
        (["a.png", "b.png", "-o", "-"], "-o - takes one picture; accepted for several: a folder"),
        (["a.png", "-o", "-", "--compare"], "--compare goes with a folder for the results"),
        (["a.png", "-o", "out", "--working-size", "8"], "'8'; accepted: a whole number from 16 to 2048"),
        (["a.png", "-o", "out", "--saturation", "2.5"], "'2.5'; accepted: a number from 0 to 2"),
        (["a.png", "-o", "out", "--saturation", "nan"], "'nan'; accepted: a number from 0 to 2"),
        (["a.png", "-o", "out", "--saturation", "much"], "'much'; accepted: a number from 0 to 2"),
        (["a.png", "-o", "out", "--max-pixels", "many"], "'many'; accepted: a whole number from 1 to 100000000000"),
        (["a.png", "-o", "out", "--device", "gpu"], "'gpu'; accepted: auto, cpu, cuda, cuda:N, mps"),
        (["a.png", "-o", "out", "--device", "cpu", "--dtype", "float16"], "--dtype float16 needs a GPU"),
        (["a.png", "-o", "a.png"], "-o a.png is a file; accepted: a folder"),
        (["a.png", "-o", "b.png"], "-o b.png is named like a picture; accepted: a folder"),
        (["a.png", "-o", "a.png/b"], "-o a.png/b cannot be made: "),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run, tmp_path, monkeypatch, no_model, arguments, reason):
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "a.png")
    code, out, err = run(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("chromagan colorize: error: ")
    assert reason in err[0]
    assert files_in(tmp_path) == ["a.png"]


# ---------------------------------------------------------------------------------------------- the whole process


def test_a_model_that_cannot_be_used_is_one_line_and_exit_code_1(run, tmp_path, monkeypatch, model_folder):
    write_picture(tmp_path / "a.png")
    monkeypatch.setenv("CHROMAGAN_MODEL", "nowhere")
    reason = "there is no such folder, and a Hub id has the form owner/name or owner/name@revision"
    expected = [f"chromagan colorize: error: CHROMAGAN_MODEL=nowhere: {reason}"]
    assert run(tmp_path / "a.png", "-o", tmp_path / "out") == (1, [], expected)
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--model", model_folder)[0] == 0
