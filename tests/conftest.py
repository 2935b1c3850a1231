"""Fixtures that several test files share.

With CHROMAGAN_TORCHVISION_SCHEMAS=1 the operators of torchvision are declared first, so that a torchvision whose
compiled half does not fit torch can be imported all the same, and timm with it: see `torchvision_schemas.py`.
"""

import importlib.util
import os
import warnings

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: torch, here and in what tests start, takes one
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from types import ModuleType

import pytest
import torch
from debug_run import draw_pictures, run
from torch import nn

if os.environ.get("CHROMAGAN_TORCHVISION_SCHEMAS") == "1":
    from torchvision_schemas import declare_torchvision_operators

    declare_torchvision_operators()

pytest.register_assert_rewrite("encoded_pictures")

ROOT = Path(__file__).parents[1]
HAS_TIMM = importlib.util.find_spec("timm") is not None


class StandInExtractor(nn.Module):
    """What an Inception network is to a generator, in one layer: pictures in, a list of one feature map out."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, picture: torch.Tensor) -> list[torch.Tensor]:
        return [self.norm(self.conv(nn.functional.adaptive_avg_pool2d(picture, 8))).relu()]


@pytest.fixture
def extractors(monkeypatch):
    """timm's Inception networks where timm is installed, otherwise stand-ins with as many features."""
    if not HAS_TIMM:
        channels = {"inception_v3": 2048, "inception_resnet_v2": 1536}
        monkeypatch.setattr(
            "modeling_chromagan.generator_inception.build_extractor",
            lambda architecture: StandInExtractor(channels[architecture]),
        )


@pytest.fixture(scope="session")
def transformers_tests(request, tmp_path_factory) -> ModuleType:
    """transformers' own test mixins, as `transformers_tests.test_modeling_common` and so on; skips without them."""
    from transformers_sources import find_sources, import_tests

    return import_tests(find_sources(tmp_path_factory.mktemp("transformers")), request.config)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder CHROMAGAN_DATA names; skips where it is unset, fails where it is set and empty of what we need."""
    value = os.environ.get("CHROMAGAN_DATA")
    if not value:
        pytest.skip("CHROMAGAN_DATA is unset: no local photographs or data sets")
    root = Path(value)
    if not (root / "tiny-imagenet").is_dir():
        pytest.fail(f"CHROMAGAN_DATA={value} has no folder tiny-imagenet")
    return root


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """A folder with a generator that colors at random, and its image processor."""
    from small_evaluation import save_model

    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory) -> Path:
    """A data set of six photographs, the third and the fifth gray."""
    from small_evaluation import photograph, write_data

    pictures = [photograph(seed) for seed in range(6)]
    pictures[2] = pictures[2].convert("L")
    pictures[4] = pictures[4].convert("L").convert("RGB")
    return write_data(tmp_path_factory.mktemp("data") / "set", pictures)


@pytest.fixture
def noisy_pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Five noisy predictions and their truths, (5, 3, 12, 17), of all brightnesses."""
    random = torch.Generator().manual_seed(5)
    truth = torch.randint(0, 256, (5, 3, 12, 17), generator=random)
    strengths = torch.tensor([0.02, 0.1, 0.5, 1, 4]).view(5, 1, 1, 1)
    noise = torch.randint(-60, 61, truth.shape, generator=random) * strengths
    return (truth + noise.int()).clamp(0, 255).to(torch.uint8), truth.to(torch.uint8)


@pytest.fixture(scope="session")
def stream_folder(tmp_path_factory) -> Path:
    """Ninety rows in ten row groups of two files, labelled 0 to 89, and a validation split."""
    from streams import write_stream

    return write_stream(tmp_path_factory.mktemp("streamed"))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """A folder of drawn pictures."""
    folder = tmp_path_factory.mktemp("drawn") / "pictures"
    draw_pictures(folder)
    return folder


@pytest.fixture(scope="session")
def finished_run(photographs, tmp_path_factory) -> Path:
    """The folder of a training with the debug recipe; tests that train on copy it."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    assert run(photographs, folder) == 0
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A folder with a tiny random generator with strong colors, and its image processor."""
    from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator, ChromaGANImageProcessor

    torch.manual_seed(0)
    generator = ChromaGANGenerator(ChromaGANConfig(width_multiplier=0.0625, num_labels=2))
    with torch.no_grad():  # an untrained network answers with colors far outside of sRGB
        generator.network.chroma.weight.mul_(0.1)
    folder = tmp_path_factory.mktemp("model")
    generator.save_pretrained(folder)
    ChromaGANImageProcessor(size=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def keras():
    """Keras 3 on torch; skips where it is not installed."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("KERAS_BACKEND", "torch")
        warnings.simplefilter("ignore")  # of its own imports
        module = pytest.importorskip("keras", reason="keras is not installed: nothing to compare with")
    if module.backend.backend() != "torch":
        pytest.skip("keras was imported with another backend than torch")
    return module


@pytest.fixture(scope="session")
def reduced(keras, tmp_path_factory):
    """The published network in Keras, reduced, its file, two pictures and what it makes of them."""
    from keras_networks import (
        REDUCED,
        build_keras,
        check_that_this_proves_something,
        pictures,
        run_keras,
        write_keras_224,
    )

    model = build_keras(keras, **REDUCED)
    path = write_keras_224(keras, model, tmp_path_factory.mktemp("keras") / "my_model_colorization.h5")
    luminance = pictures(2, REDUCED["size"])
    expected = run_keras(model, luminance)
    check_that_this_proves_something(*expected)
    return model, path, luminance, expected


@pytest.fixture
def default_model(monkeypatch, model_folder):
    """What `--model` names if it is not given."""
    monkeypatch.setenv("CHROMAGAN_MODEL", str(model_folder))


@pytest.fixture(name="run")
def run_colorize(capsys, default_model):
    """Runs `chromagan colorize` in this process: exit code, lines on stdout, lines on stderr."""
    from modeling_chromagan import cli

    def run_colorize(*arguments) -> tuple[int, list[str], list[str]]:
        try:
            code = cli.main(["colorize", *map(str, arguments)])
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return run_colorize


@pytest.fixture
def no_model(monkeypatch):
    """For refusals that must come before any work: fails the test if the model is loaded."""

    def load_colorizer(model, options):
        pytest.fail("the model was loaded")

    monkeypatch.setattr("modeling_chromagan.commands.colorize.load_colorizer", load_colorizer)


@pytest.fixture(scope="session")
def hub_server():
    """The server of `hub`."""
    from hub_server import LoopbackHub

    with LoopbackHub() as server:
        yield server


@pytest.fixture
def hub(hub_server, tmp_path, monkeypatch):
    """An empty Hub on this machine, which clients of this process ask, with an empty cache and without a token.

    Fails the test if a client asks for something that it does not speak.
    """
    from hub_client import use_here

    hub_server.reset()
    use_here(hub_server, tmp_path / "hub_home", monkeypatch)
    yield hub_server
    assert not hub_server.unknown


@pytest.fixture(scope="session")
def evaluated_run(finished_run, small_data, tmp_path_factory) -> Path:
    """A finished training, measured into its folder `evaluation`: what can be published."""
    import shutil

    from modeling_chromagan import cli

    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("evaluated") / "autumn")
    command = ["evaluate", "--model", folder / "model", "--data", small_data, "--classifier", "none"]
    assert cli.main([*map(str, command), "--saturation", "1", "1.25", "-o", str(folder / "evaluation")]) == 0
    return folder


@pytest.fixture(scope="session")
def packaged_graphs(tmp_path_factory) -> dict[str, Path]:
    """The packaged weights as ONNX graphs of both precisions, exported by whichever process comes first."""
    from filelock import FileLock

    from modeling_chromagan import PACKAGED_WEIGHTS
    from modeling_chromagan.publishing.onnx_export import FILES, export_graphs

    temporary = tmp_path_factory.getbasetemp()
    folder = (temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary) / "packaged-graphs"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            export_graphs(PACKAGED_WEIGHTS, folder.with_suffix(".partial"))
            folder.with_suffix(".partial").rename(folder)
    return {precision: folder / name for precision, name in FILES.items()}


@pytest.fixture
def quick_release(monkeypatch, tmp_path) -> Path:
    """Lets releases be built without ONNX graphs, and with one small example, whose folder it gives."""
    from PIL import Image

    def stand_in(model: Path, folder: Path, license: str) -> None:
        folder.mkdir()
        for name in ("model", "model_fp16"):
            (folder / f"{name}.onnx").write_bytes(name.encode() * 1000)

    monkeypatch.setattr("modeling_chromagan.publishing.release_folder.export_graphs", stand_in)
    examples = tmp_path / "examples"
    examples.mkdir()
    Image.radial_gradient("L").resize((96, 64)).save(examples / "gradient.png")
    (examples / "CREDITS.md").write_text("Drawn for a test.\n", encoding="utf-8")
    return examples
