"""The page: what it builds, what it accepts, whether it serves visitors without keeping anything of theirs."""

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import gradio
import numpy as np
import pytest
import torch
from conftest import ROOT
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from huggingface_hub import metadata_load
from PIL import Image

from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator, ChromaGANImageProcessor, ChromaGANPipeline

SPACE = ROOT / "space"


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A gray picture (H, W), uint8, with detail up to its edges, so that no side looks like a margin."""
    coarse = np.random.default_rng(seed).integers(20, 236, (height // 6 + 2, width // 6 + 2)).astype(np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def write_pictures(folder: Path) -> dict[str, Path]:
    """One picture of each kind that is easily lost on the way; all are displayed at 160 x 120 pixels."""
    gray = textured(120, 160)
    pictures = {
        "gray.png": Image.fromarray(gray),
        "scan.tif": Image.fromarray(gray.astype(np.uint16) * 257),
        "deep.png": Image.fromarray(gray.astype(np.uint16) * 257),
        "alpha.png": Image.merge("LA", [Image.fromarray(gray), Image.linear_gradient("L").resize((160, 120))]),
    }
    for name, picture in pictures.items():
        picture.save(folder / name)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned clockwise by a quarter
    Image.fromarray(np.rot90(gray)).save(folder / "turned.jpg", exif=turned, quality=95)
    return {path.name: path for path in folder.iterdir()}


def luminance(rgb: np.ndarray) -> np.ndarray:
    """sRGB-coded relative luminance of (H, W, 3) uint8, in 0..255."""
    code = rgb.astype(np.float64) / 255
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4) @ [0.212671, 0.715160, 0.072169]
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def read_picture(path: str) -> Image.Image:
    with Image.open(path) as picture:
        return picture.copy()


def check_result(path: str, name: str) -> None:
    """The file is the colorization of one of `write_pictures`, in full size and with the picture's own luminance."""
    assert Path(path).name == f"{Path(name).stem}-colorized.png"
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (160, 120))
        assert picture.mode == ("RGBA" if name == "alpha.png" else "RGB")
        pixels = np.asarray(picture)
    assert np.ptp(pixels[..., :3].astype(np.int16), axis=2).mean() > 5, "nothing was colored"
    allowed = 8 if name == "turned.jpg" else 0.51  # JPEG changes the grays before we see them
    assert np.abs(luminance(pixels[..., :3]) - textured(120, 160)).max() < allowed
    if name == "alpha.png":
        assert np.array_equal(pixels[..., 3], np.asarray(Image.linear_gradient("L").resize((160, 120))))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A tiny random generator with strong colors, and everything that a model repository has beside it."""
    torch.manual_seed(0)
    config = ChromaGANConfig(
        width_multiplier=0.0625,
        num_labels=2,
    )
    generator = ChromaGANGenerator(config)
    with torch.no_grad():  # an untrained network answers with colors far outside of sRGB
        generator.network.chroma.weight.mul_(0.1)
    folder = tmp_path_factory.mktemp("model")
    ChromaGANPipeline(generator, ChromaGANImageProcessor(size=160, saturation=1.5), device="cpu").save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def load_page(monkeypatch, tmp_path, model_folder):
    """Imports the page as a module of its own, without starting a server."""
    monkeypatch.setenv("CHROMAGAN_MODEL", str(model_folder))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    loops, new_event_loop = [], asyncio.new_event_loop  # Gradio makes some and leaves them open

    def new_event_loop_to_close() -> asyncio.AbstractEventLoop:
        loops.append(new_event_loop())
        return loops[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", new_event_loop_to_close)

    def load() -> ModuleType:
        specification = importlib.util.spec_from_file_location("space_app", SPACE / "app.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    yield load
    for loop in loops:
        loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def page(load_page) -> ModuleType:
    return load_page()


def test_the_page_builds(page):
    config = page.demo.get_config_file()
    public = [event["api_name"] for event in config["dependencies"] if event["api_visibility"] == "public"]
    assert public == ["colorize"]
    shown = {component["type"]: component["props"] for component in config["components"]}
    assert {"file", "imageslider", "downloadbutton", "slider", "dataset"} <= set(shown)
    sliders = {part["props"]["label"]: part["props"] for part in config["components"] if part["type"] == "slider"}
    size = sliders["Working size"]
    assert size["value"] == 160, "not the model's own"
    assert {256, 320} <= set(range(size["minimum"], size["maximum"] + 1, size["step"])), (
        "not what the packaged one sees"
    )
    saturation = sliders["Saturation"]
    assert [saturation[name] for name in ("minimum", "maximum", "step")] == [0, 2, 0.05]
    assert saturation["value"] == 1.5, "not the model's own"
    examples = {path.name for path in (ROOT / "examples").iterdir() if path.suffix == ".jpg"}
    assert {Path(sample[0]["path"]).name for sample in shown["dataset"]["samples"]} == examples != set()
    assert page.demo.delete_cache == (60, 15 * 60)
    assert not page.demo.analytics_enabled
    assert page.demo._queue.max_size == 16


def test_every_kind_of_picture_is_colorized_at_its_size(page, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, path in write_pictures(folder).items():
        result, previews = page.colorize(str(path), 160, 1, True)
        check_result(result, name)
        assert Path(result).is_relative_to(page.cache.name)
        before, after = map(read_picture, previews)
        assert before.size == after.size == (160, 120)
        before = np.asarray(before.convert("RGB"))
        assert np.abs(luminance(before) - textured(120, 160)).max() < 8, "the picture before is another one"


def test_the_slider_sets_the_strength_of_the_colors(page, tmp_path):
    Image.fromarray(textured(120, 160)).save(tmp_path / "gray.png")
    colorfulness = []
    for saturation in (0, 0.5, 1):
        with Image.open(page.colorize(str(tmp_path / "gray.png"), 160, saturation, True)[0]) as picture:
            colorfulness.append(np.ptp(np.asarray(picture, np.int16), axis=2).mean())
    assert colorfulness[0] == 0
    assert 0 < colorfulness[1] < colorfulness[2]


def test_only_the_previews_are_reduced(page, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "PREVIEW_SIDE", 80)
    Image.fromarray(textured(120, 160)).save(tmp_path / "gray.png")
    result, previews = page.colorize(str(tmp_path / "gray.png"), 160, 1, True)
    check_result(result, "gray.png")
    assert [read_picture(preview).size for preview in previews] == [(80, 60)] * 2


def test_the_same_picture_again_leaves_the_files_of_the_first_visitor_alone(page, tmp_path):
    Image.fromarray(textured(120, 160)).save(tmp_path / "gray.png")

    def visit() -> set[Path]:
        earlier = set(kept_files(Path(page.cache.name)))
        result, previews = page.colorize(str(tmp_path / "gray.png"), 160, 1, True)
        shown = page.comparison.postprocess(previews)
        files = {Path(result), *(Path(picture.path) for picture in shown.root)}
        assert set(kept_files(Path(page.cache.name))) - earlier == files, "written over one that may be on its way"
        return files

    assert len(visit()) == len(visit()) == 3


def test_what_cannot_be_used_is_refused_in_one_line(page, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (tmp_path / "letter.png").write_text("Dear Sir or Madam")
    Image.new("1", (8000, 5001)).save(tmp_path / "huge.png")
    for path, message in (
        (tmp_path / "broken.jpg", r"broken\.jpg: damaged .*"),
        (tmp_path / "letter.png", r"letter\.png: not a picture; accepted are JPEG, .*"),
        (tmp_path / "huge.png", r"huge\.png: .*40,008,000 pixels are more than max_pixels = 40,000,000"),
        (None, r"Choose a picture first\."),
    ):
        with pytest.raises(gradio.Error) as error:
            page.colorize(path and str(path), 160, 1, True)
        assert re.fullmatch(message, error.value.message)
        assert not error.value.print_exception, "this would put a traceback into the log"


def test_only_the_network_runs_on_the_gpu_of_a_zerogpu_space(load_page, monkeypatch, tmp_path):
    marked = []

    def mark(function):
        marked.append(function.__name__)
        return function

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=mark))
    page = load_page()
    assert marked == ["run_network"]
    Image.fromarray(textured(120, 160)).save(tmp_path / "gray.png")
    check_result(page.colorize(str(tmp_path / "gray.png"), 160, 1, True)[0], "gray.png")


COMMIT = hashlib.sha1(b"a commit").hexdigest()


def test_the_model_is_the_named_one_else_the_packaged_one_else_the_published_one(page, monkeypatch, tmp_path):
    def found(named: str, package=None, preload: str = "") -> tuple[str, str | None] | str:
        (tmp_path / "README.md").write_text(f"---\ntitle: x\n{preload}\n---\n")
        monkeypatch.setattr(page, "HERE", tmp_path)
        monkeypatch.setenv("CHROMAGAN_MODEL", named)
        monkeypatch.setattr(page, "package", package)
        try:
            return page.find_model()
        except SystemExit as error:
            return error.code

    with_weights, without = (SimpleNamespace(PACKAGED_WEIGHTS=tmp_path / name) for name in ("there", "missing"))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "config.json").write_text("{}")
    published = f"preload_from_hub:\n  - some/model config.json,model.safetensors {COMMIT}"

    assert found(str(tmp_path), with_weights, published) == (str(tmp_path), None)
    assert found("", with_weights, published) == (str(tmp_path / "there"), None)
    assert found("", without, published) == found("", None, published) == ("some/model", COMMIT)
    assert found("other/model", without) == ("other/model", None)
    assert found(f"other/model@{COMMIT}", None, published) == ("other/model", COMMIT)

    pin = "runs code of that repository; accepted: OWNER/NAME and a commit of 40 hexadecimal digits"
    for named in ("other/model", "other/model@main", "other/model@v0.1.0"):
        assert found(named) == f"CHROMAGAN_MODEL={named}: {pin}"
    assert found("", None, "preload_from_hub: [some/model config.json]") == (
        f"preload_from_hub: some/model config.json: {pin}"
    )
    assert found("./no/where", with_weights) == (
        "CHROMAGAN_MODEL=./no/where: neither a folder nor a Hub id; accepted: a folder, OWNER/NAME@COMMIT"
    )
    assert found("", without).startswith("no weights: set CHROMAGAN_MODEL, or name a model under preload_from_hub in ")


def test_the_settings_of_the_space_fit_what_is_tested():
    text = (SPACE / "README.md").read_text()
    settings = metadata_load(SPACE / "README.md")
    assert settings["sdk"] == "gradio"
    assert settings["sdk_version"] == importlib.metadata.version("gradio") == gradio.__version__
    assert settings["python_version"] == "3.12"
    assert 'python_version: "3.12"' in text, "unquoted, YAML reads 3.10 as 3.1"
    assert (SPACE / settings["app_file"]).is_file()
    assert settings["license"] == "apache-2.0"
    assert len(settings["short_description"]) <= 60
    colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {settings["colorFrom"], settings["colorTo"]} <= colors
    for entry in settings.get("preload_from_hub", []):
        model, _, commit = entry.split()
        assert model in settings["models"]
        assert re.fullmatch("[0-9a-f]{40}", commit)


def test_the_requirements_of_the_space_are_the_tested_versions():
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    pinned = {line.split("==")[0]: line for line in lines if not line.startswith("#")}
    tested = set((ROOT / "constraints.txt").read_text().splitlines())
    assert set(pinned.values()) <= tested
    assert {"torch", "transformers", "numpy", "pillow"} <= set(pinned)
    assert "gradio" not in pinned, "gradio comes from sdk_version"


@contextmanager
def running_page(command: list[str], environment: dict[str, str], log: Path):
    """Starts the page as a program of its own and gives its address; stops it as a Space is stopped."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = inherited | {"HF_HUB_OFFLINE": "1"} | environment | {"PYTHONUNBUFFERED": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen(command, env=environment, cwd=log.parent, stdout=stream, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 480
        while not (started := re.search(r"Running on local URL: +(http://127\.0\.0\.1:\d+)\s", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"not started after 8 minutes: {log.read_text()}"
            time.sleep(0.2)
        yield started[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@contextmanager
def connected(address: str, downloads: Path) -> Iterator[Client]:
    """A visitor who waits for as long as the page takes, on a machine with much to do."""
    settings = {"download_files": str(downloads), "httpx_kwargs": {"timeout": 480}}
    client = Client(address, verbose=False, analytics_enabled=False, **settings)
    try:
        yield client
    finally:
        client.close()


def kept_files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_visitors_are_served_and_nothing_of_theirs_stays(tmp_path, model_folder):
    cache, log = tmp_path / "cache", tmp_path / "log.txt"
    (tmp_path / "pictures").mkdir()
    cache.mkdir()
    pictures = write_pictures(tmp_path / "pictures")
    environment = {"CHROMAGAN_MODEL": str(model_folder), "GRADIO_TEMP_DIR": str(cache)}
    page = running_page([sys.executable, str(SPACE / "app.py")], environment, log)
    with page as address, connected(address, tmp_path / "downloads") as client:
        jobs = {name: client.submit(handle_file(path), api_name="/colorize") for name, path in pictures.items()}
        for name, job in jobs.items():
            result, previews = job.result(timeout=480)
            check_result(result, name)
            assert [read_picture(preview).size for preview in previews] == [(160, 120)] * 2
        narrow, _ = client.predict(handle_file(pictures["gray.png"]), 256, 1, False, api_name="/colorize")
        check_result(narrow, "gray.png")
        assert Path(narrow).read_bytes() != Path(jobs["gray.png"].result()[0]).read_bytes()

        (tmp_path / "broken.jpg").write_bytes(pictures["turned.jpg"].read_bytes()[:1500])
        (tmp_path / "letter.txt").write_text("Dear Sir or Madam")
        for name in ("broken.jpg", "letter.txt"):
            with pytest.raises(AppError, match=rf"^{re.escape(name)}: [^\n]+$"):
                client.predict(handle_file(tmp_path / name), api_name="/colorize")
        with pytest.raises(AppError, match=r"^Choose a picture first\.$"):
            client.predict(None, api_name="/colorize")
        (tmp_path / "large.tif").write_bytes(bytes(100 * 1024**2 + 1))
        with pytest.raises(ValueError, match="exceeds the maximum file size"):
            client.predict(handle_file(tmp_path / "large.tif"), api_name="/colorize")
        check_result(client.predict(handle_file(pictures["scan.tif"]), api_name="/colorize")[0], "scan.tif")

        assert client.config["run_history"] is False
        assert kept_files(cache), "this test looks for visitors' files in the wrong place"
    assert kept_files(cache) == []
    assert "Traceback" not in log.read_text()
    assert "Error" not in log.read_text()


WITHOUT_THE_PACKAGE = """
import runpy, sys
sys.modules["modeling_chromagan"] = None  # importing it fails, as on the Hub, where nobody installed it
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_uploaded_space_runs_the_published_model_at_its_commit(tmp_path, model_folder):
    uploaded, home, log = tmp_path / "app", tmp_path / "home", tmp_path / "log.txt"
    uploaded.mkdir()
    shutil.copy(SPACE / "app.py", uploaded)
    settings = f"models:\n  - some/model\npreload_from_hub:\n  - some/model config.json,model.safetensors {COMMIT}\n"
    text = (SPACE / "README.md").read_text()
    (uploaded / "README.md").write_text(text.replace("app_file:", f"{settings}app_file:"))
    shutil.copytree(model_folder, home / "hub" / "models--some--model" / "snapshots" / COMMIT)
    pictures = write_pictures(uploaded)
    environment = {"HF_HOME": str(home), "GRADIO_TEMP_DIR": str(tmp_path), "CHROMAGAN_MODEL": ""}
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(uploaded / "app.py")]
    with running_page(command, environment, log) as address, connected(address, tmp_path / "downloads") as client:
        check_result(client.predict(handle_file(pictures["scan.tif"]), api_name="/colorize")[0], "scan.tif")
        (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
        with pytest.raises(AppError, match=r"^broken\.jpg: damaged [^\n]+$"):
            client.predict(handle_file(tmp_path / "broken.jpg"), api_name="/colorize")
    assert "Traceback" not in log.read_text()
