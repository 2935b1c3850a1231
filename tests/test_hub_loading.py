"""Models of the Hub load with the package and without it, offline too; what is wrong with one is a line that names it.

All over HTTP, from the Hub of `hub_server.py`.
"""

import contextlib
import json
import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import ROOT
from hub_client import run_python
from huggingface_hub import HfApi, constants
from PIL import Image
from safetensors.torch import load_file, save_file

from modeling_chromagan import (
    ChromaGANConfig,
    ChromaGANCritic,
    ChromaGANGenerator,
    ChromaGANImageProcessor,
    ChromaGANPipeline,
    cli,
)
from modeling_chromagan.errors import SettingError, WeightsError
from modeling_chromagan.publishing.release_folder import build_release
from modeling_chromagan.sources.models import ModelError, load_generator, load_pipeline, locate_model
from modeling_chromagan.training.networks import Networks
from modeling_chromagan.training.recipe import load_recipe

NAME = "org/chromagan"


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.token)


@pytest.fixture(scope="session")
def folder(model_folder, tmp_path_factory) -> Path:
    """What is published: a generator, its image processor, and a critic in `critic`."""
    folder = tmp_path_factory.mktemp("published") / "model"
    ChromaGANPipeline(
        ChromaGANGenerator.from_pretrained(model_folder), ChromaGANImageProcessor(size=32), device="cpu"
    ).save_pretrained(folder)
    torch.manual_seed(1)
    ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=0.0625)).save_pretrained(folder / "critic")
    return folder


@pytest.fixture
def published(api, folder) -> str:
    """The id of the commit."""
    return publish(api, folder)


def publish(api, folder, name=NAME, **settings) -> str:
    api.create_repo(name, exist_ok=True, **settings)
    return api.upload_folder(repo_id=name, folder_path=folder).oid


def assert_equal_weights(model, folder) -> None:
    stored = load_file(folder / "model.safetensors")
    weights = model.state_dict()
    assert weights.keys() == stored.keys()
    assert all(torch.equal(weights[name], stored[name]) for name in stored)


def gray_picture() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (9, 12), dtype=np.uint8)
    return Image.fromarray(values).resize((61, 47), Image.Resampling.BICUBIC)


def colorize(tmp_path, capsys, *options) -> tuple[int, list[str]]:
    """Exit code and lines on stderr of `chromagan colorize` with one picture."""
    gray_picture().save(tmp_path / "gray.png")
    command = ["colorize", str(tmp_path / "gray.png"), "-o", str(tmp_path / "out"), "--overwrite", *map(str, options)]
    capsys.readouterr()  # the progress of what was loaded before
    try:
        code = cli.main(command)
    except SystemExit as error:
        code = error.code
    return code, capsys.readouterr().err.splitlines()


# With the package


def test_every_public_class_loads_by_the_name_of_the_repository(hub, folder, published):
    generator = ChromaGANGenerator.from_pretrained(NAME)
    assert_equal_weights(generator, folder)
    assert_equal_weights(ChromaGANCritic.from_pretrained(NAME, subfolder="critic"), folder / "critic")
    assert ChromaGANConfig.from_pretrained(NAME) == generator.config
    assert ChromaGANImageProcessor.from_pretrained(NAME).size["shortest_edge"] == 32
    expected = ChromaGANPipeline.from_pretrained(folder)(gray_picture())
    assert ChromaGANPipeline.from_pretrained(NAME)(gray_picture()) == expected
    for file in ("config.json", "preprocessor_config.json", "critic/config.json"):
        assert len(hub.asked("GET", f"/{file}$")) == (2 if file == "config.json" else 1)  # the critic's ends so too
    assert len(hub.asked("GET", "^/storage/")) == 2
    assert not hub.asked("GET", r"\.py$")


@pytest.mark.slow
def test_revisions_are_tags_branches_and_commits(hub, api, folder, published, tmp_path, capsys):
    api.create_tag(NAME, tag="v1")
    api.create_branch(NAME, branch="other/colors")
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    weights = load_file(changed / "model.safetensors")
    save_file(
        {name: tensor + 1 if "chroma.bias" in name else tensor for name, tensor in weights.items()},
        changed / "model.safetensors",
        metadata={"format": "pt"},
    )
    api.upload_folder(repo_id=NAME, folder_path=changed, revision="other/colors")
    for revision, expected in (("v1", folder), (published, folder), ("main", folder), ("other/colors", changed)):
        assert_equal_weights(ChromaGANGenerator.from_pretrained(NAME, revision=revision), expected)
        assert_equal_weights(load_generator(f"{NAME}@{revision}"), expected)
        assert colorize(tmp_path, capsys, "--model", f"{NAME}@{revision}") == (0, [])
        picture = Image.open(tmp_path / "out" / "gray.png")
        assert np.array_equal(picture, load_pipeline(expected)(gray_picture()))
    name = f"{NAME}@v9"
    with pytest.raises(ModelError) as refused:
        load_generator(name)
    assert str(refused.value) == f"{name}: the model has no revision v9; accepted: a branch, a tag or a commit of it"


def test_a_model_is_downloaded_once(hub, published):
    load_pipeline(NAME)
    assert len(hub.asked("GET", "^/storage/")) == 1  # without the critic
    hub.requests.clear()
    load_pipeline(NAME)
    assert {(entry.method, entry.path.partition("/revision/")[0]) for entry in hub.requests} == {
        ("GET", f"/api/models/{NAME}")
    }


def test_private_models_want_a_token_of_a_member(hub, api, folder, monkeypatch, tmp_path, capsys):
    publish(api, folder, private=True)
    reason = "no such folder, and no such model on the Hub (a private one needs `hf auth login`)"
    for token in (None, hub.strangers_token):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        expected = [f"chromagan colorize: error: --model {NAME}: {reason}"]
        assert colorize(tmp_path, capsys, "--model", NAME) == (1, expected)
        with pytest.raises(OSError, match="is not a valid model identifier"):
            ChromaGANGenerator.from_pretrained(NAME)
    assert_equal_weights(ChromaGANGenerator.from_pretrained(NAME, token=hub.read_token), folder)
    monkeypatch.setenv("HF_TOKEN", hub.read_token)
    assert_equal_weights(load_generator(NAME), folder)
    assert colorize(tmp_path, capsys, "--model", NAME) == (0, [])


def test_refusals_of_the_hub_are_one_line(hub, published, monkeypatch):
    hub.repository(NAME).gated = "auto"
    hub.fail("GET", f"^/api/models/{NAME}$", 403, times=1, code="GatedRepo")
    with pytest.raises(ModelError, match=f"^{NAME}: access to it is restricted; accepted: [^\n]+$"):
        load_generator(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_outdated")
    with pytest.raises(ModelError, match=f"^{NAME}: the Hub does not accept the token; accepted: [^\n]+$"):
        load_generator(NAME)
    monkeypatch.delenv("HF_TOKEN")
    hub.fail("GET", f"^/api/models/{NAME}$", 429, times=1)
    with pytest.raises(ModelError, match=f"^{NAME}: cannot be downloaded: 429 Too Many Requests[^\n]+$"):
        load_generator(NAME)
    hub.fail("GET", f"^/api/models/{NAME}$", 503, times=1)
    with pytest.raises(ModelError, match=f"^{NAME}: no such folder, not downloaded before, and the Hub cannot be"):
        load_generator(NAME)


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_is_lost_in_the_middle_of_the_weights_is_made_again(hub, folder, published, reset):
    hub.fail("GET", "^/storage/", after_bytes=10_000, reset=reset, times=2)
    assert_equal_weights(load_generator(NAME), folder)
    assert [entry.status for entry in hub.asked("GET", "^/storage/")] == [200] * 3


def test_a_connection_that_is_lost_every_time_is_one_line(hub, published):
    hub.fail("GET", "^/storage/", after_bytes=10_000, reset=True, times=100)
    with pytest.raises(ModelError, match=f"^{NAME}: cannot be downloaded: [^\n]+$"):
        load_generator(NAME)
    hub.faults.clear()
    load_generator(NAME)


def test_offline_what_was_downloaded_is_used(hub, folder, published, monkeypatch, tmp_path, capsys):
    load_pipeline(NAME)
    ChromaGANCritic.from_pretrained(NAME, subfolder="critic")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_equal_weights(ChromaGANGenerator.from_pretrained(NAME), folder)
    assert_equal_weights(ChromaGANCritic.from_pretrained(NAME, subfolder="critic"), folder / "critic")
    assert_equal_weights(load_generator(NAME), folder)
    assert colorize(tmp_path, capsys, "--model", NAME) == (0, [])
    reason = "no such folder, not downloaded before, and the Hub cannot be reached"
    expected = [f"chromagan colorize: error: --model org/other: {reason}"]
    assert colorize(tmp_path, capsys, "--model", "org/other") == (1, expected)
    assert not hub.requests


class Silence:
    """A server that accepts connections and never answers."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.accepted = []
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                self.accepted.append(self.socket.accept()[0])
            except OSError:
                return

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()
        for connection in self.accepted:
            connection.close()


@pytest.mark.parametrize("network", ["closed", "silent"])
def test_a_dead_network_ends_in_seconds_in_one_line(hub, published, monkeypatch, tmp_path, capsys, network):
    load_pipeline(NAME)
    with contextlib.closing(Silence()) as silence, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # without listening: nobody else gets the port
        port = (silence.socket if network == "silent" else closed).getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
        began = time.monotonic()
        reason = "no such folder, not downloaded before, and the Hub cannot be reached"
        expected = [f"chromagan colorize: error: --model org/other: {reason}"]
        assert colorize(tmp_path, capsys, "--model", "org/other") == (1, expected)
        assert colorize(tmp_path, capsys, "--model", NAME) == (0, [])  # downloaded before
        assert time.monotonic() - began < 30
        assert bool(silence.accepted) == (network == "silent")


def test_weights_in_several_files_load(hub, api, folder, tmp_path):
    ChromaGANGenerator.from_pretrained(folder).save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    shutil.copy(folder / "preprocessor_config.json", tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 1
    publish(api, tmp_path / "sharded")
    assert_equal_weights(ChromaGANGenerator.from_pretrained(NAME), folder)
    assert_equal_weights(load_generator(NAME), folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, "auto", None])
def test_types_of_numbers_are_those_asked_for(published, dtype):
    given = {} if dtype is None else {"dtype": dtype}
    model = ChromaGANGenerator.from_pretrained(NAME, device_map="auto", **given)
    assert model.dtype == (torch.float32 if dtype in ("auto", None) else dtype)


def test_a_training_starts_from_a_model_of_the_hub(hub, api, finished_run, monkeypatch, tmp_path):
    model = finished_run / "model"
    publish(api, model)
    api.create_tag(NAME, tag="v1")
    recipe = load_recipe(ROOT / "recipes" / "debug.yaml", [f"init_from={NAME}@v1"])
    networks = Networks(recipe, Accelerator(cpu=True), None)
    assert_equal_weights(networks.generator, model)
    assert_equal_weights(networks.critic, model / "critic")
    for name, reason in (
        ("org/other", "no such folder, and no such model on the Hub"),
        (f"{NAME}@v2", "the model has"),
    ):
        recipe = load_recipe(ROOT / "recipes" / "debug.yaml", [f"init_from={name}"])
        with pytest.raises(SettingError, match=f"^init_from: {name}: {reason}[^\n]+; accepted: a run folder, [^\n]+$"):
            Networks(recipe, Accelerator(cpu=True), None)


# What is refused


def lose_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["network.chroma.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def reshape_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights["network.chroma.bias"] = torch.zeros(7)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def spoil_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights["network.chroma.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def pickle_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def configure(**settings):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | settings))

    return change


FAULTS = {
    "pickle": (pickle_weights, "has no safetensors file; accepted: safetensors files alone"),
    "other model": (configure(model_type="resnet"), "model_type is 'resnet'; accepted: 'chromagan'"),
    "newer": (
        configure(format_version=2),
        "format_version is 2, of a newer version of this package; accepted: up to 1",
    ),
    "missing": (lose_a_weight, "lacks 1 of its weights, network.chroma.weight among them"),
    "shape": (reshape_a_weight, "1 of its weights have shapes that its config does not say, network.chroma.bias"),
    "not finite": (spoil_a_weight, "1 of its weights are not finite, network.chroma.bias among them"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_models_that_are_wrong_are_refused_in_one_line(hub, api, folder, tmp_path, capsys, fault):
    damage, reason = FAULTS[fault]
    shutil.copytree(folder, tmp_path / "damaged")
    damage(tmp_path / "damaged")
    publish(api, tmp_path / "damaged")
    for loader in (ChromaGANGenerator, ChromaGANPipeline):
        with pytest.raises(WeightsError) as refused:
            loader.from_pretrained(NAME)
        assert str(refused.value).startswith(f"{NAME}: {reason}")
        assert "\n" not in str(refused.value)
    code, (line,) = colorize(tmp_path, capsys, "--model", NAME)
    assert code == 1
    assert line.startswith(f"chromagan colorize: error: --model {NAME} ")
    assert ("has no weights (*.safetensors)" if fault == "pickle" else reason) in line
    if fault == "pickle":
        assert not hub.asked("GET", r"\.bin$|^/storage/")
        assert {entry.status for entry in hub.asked("HEAD", r"\.bin$")} <= {404}


def test_hub_ids_are_told_from_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name@v1").mkdir(parents=True)
    assert locate_model("org/name@v1").place == "org/name@v1"
    found = locate_model("org/name@refs/pr/1")
    assert (found.place, found.revision) == ("org/name", "refs/pr/1")


# Without the package

STRANGER = """
import sys
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageToImage, pipeline

name, picture, result, broken = sys.argv[1:]
try:
    pipeline("image-to-image", model=name, trust_remote_code=False)
except ValueError as error:
    assert "trust_remote_code" in str(error), error
else:
    raise AssertionError("code of the repository ran without being trusted")
pipe = pipeline("image-to-image", model=name, trust_remote_code=True)
pipe(picture).save(result)
generator = AutoModelForImageToImage.from_pretrained(name, device_map="auto", trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=True)
config = AutoConfig.from_pretrained(name, trust_remote_code=True)
also = AutoModel.from_pretrained(name, trust_remote_code=True)
critic = AutoModel.from_pretrained(name, subfolder="critic", trust_remote_code=True)
found = [type(thing).__name__ for thing in (pipe, generator, processor, config, also, critic)]
kinds = ("Pipeline", "Generator", "ImageProcessor", "Config", "Generator", "Critic")
assert found == [f"ChromaGAN{kind}" for kind in kinds], found
places = {type(thing).__module__.partition(".")[0] for thing in (generator, processor, config, also, critic)}
assert places == {WHERE}, places
for model in (pipe.model, generator, also, critic):
    assert str(model.dtype) == "torch.float32", model.dtype
outputs = generator(processor(picture, return_tensors="pt")["pixel_values"])
assert outputs.reconstruction.shape[1] == 2
try:
    AutoModelForImageToImage.from_pretrained(broken, trust_remote_code=True)
except OSError as error:
    assert str(error) == f"{broken}: 1 of its weights are not finite, network.chroma.bias among them", error
else:
    raise AssertionError("weights that are not finite were loaded")
"""


@pytest.mark.slow
def test_strangers_get_the_same_picture_by_the_lines_that_the_hub_prints(
    hub, api, evaluated_run, quick_release, tmp_path
):
    build_release(evaluated_run, tmp_path / "release", NAME, examples=quick_release)
    publish(api, tmp_path / "release")
    shutil.copytree(tmp_path / "release", tmp_path / "broken")
    spoil_a_weight(tmp_path / "broken")
    publish(api, tmp_path / "broken", "org/broken")
    gray_picture().save(tmp_path / "gray.png")
    for package, where in ((False, "transformers_modules"), (True, "modeling_chromagan")):
        home = tmp_path / where
        begin = "import modeling_chromagan\n" if package else ""
        arguments = (NAME, tmp_path / "gray.png", home / "color.png", "org/broken")
        done = run_python(hub, home, f"{begin}WHERE = {where!r}\n{STRANGER}", *arguments, package=package)
        assert done.returncode == 0, done.stderr
    here = ChromaGANPipeline.from_pretrained(NAME)(tmp_path / "gray.png")
    for where in ("transformers_modules", "modeling_chromagan"):
        assert np.array_equal(Image.open(tmp_path / where / "color.png"), here)
