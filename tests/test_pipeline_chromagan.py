"""Pictures in, color pictures out, alone and in batches, and loaded from a saved folder by strangers."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.pipelines.pt_utils import KeyDataset

from modeling_chromagan import pipeline_chromagan
from modeling_chromagan.configuration_chromagan import ChromaGANConfig
from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.image_loading import load_image
from modeling_chromagan.image_processing_chromagan import ChromaGANImageProcessor
from modeling_chromagan.modeling_chromagan import ChromaGANGenerator
from modeling_chromagan.pipeline_chromagan import ChromaGANPipeline


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A gray picture (H, W), uint8, with detail up to its edges, so that no side looks like a margin."""
    coarse = np.random.default_rng(seed).integers(20, 236, (height // 6 + 2, width // 6 + 2)).astype(np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def difference(first: Image.Image, second: Image.Image) -> int:
    assert (first.size, first.mode) == (second.size, second.mode)
    return int(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).max())


@pytest.fixture
def model() -> ChromaGANGenerator:
    torch.manual_seed(0)
    config = ChromaGANConfig(
        width_multiplier=0.125,
        class_head=False,
        num_labels=2,
    )
    model = ChromaGANGenerator(config)
    with torch.no_grad():  # an untrained network answers with colors far outside of sRGB
        model.network.chroma.weight.mul_(0.15)
    return model


@pytest.fixture
def pipe(model) -> ChromaGANPipeline:
    return ChromaGANPipeline(model, ChromaGANImageProcessor(size=32), device="cpu")


@pytest.fixture
def network_inputs(model) -> list[tuple[int, ...]]:
    """The shapes of what went through the network, call by call."""
    shapes = []
    model.network.register_forward_pre_hook(lambda network, inputs: shapes.append(tuple(inputs[0].shape)))
    return shapes


def test_every_kind_of_source_is_colorized_at_its_own_size(pipe, tmp_path):
    gray = textured(90, 121)
    path = tmp_path / "picture.png"
    Image.fromarray(gray).save(path)
    expected = pipe(gray)
    assert (expected.size, expected.mode) == ((121, 90), "RGB")
    assert np.ptp(np.asarray(expected, np.int16), axis=2).max() > 20, "nothing was colored"
    for source in (
        path,
        str(path),
        path.read_bytes(),
        Image.fromarray(gray),
        torch.from_numpy(gray),
        load_image(path),
    ):
        assert difference(pipe(source), expected) == 0, type(source)
    assert pipe([]) == []
    assert pipe(Image.merge("LA", [Image.fromarray(gray)] * 2)).mode == "RGBA"


@pytest.mark.parametrize("batch_size", [2, 3, 8])
def test_batches_give_what_single_pictures_give(pipe, network_inputs, batch_size):
    sizes = [(90, 120), (70, 70), (90, 121), (120, 90), (90, 122), (71, 70), (40, 300), (90, 124)]
    pictures = [textured(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    singles = [pipe(picture) for picture in pictures]
    single_inputs = {shape[2:] for shape in network_inputs}
    network_inputs.clear()
    for single, batched in zip(singles, pipe(pictures, batch_size=batch_size), strict=True):
        assert difference(single, batched) <= 1
    assert {shape[2:] for shape in network_inputs} == single_inputs, "pictures were padded to each other's size"
    assert max(shape[0] for shape in network_inputs) == min(batch_size, 4), "widths 43 and 44 share the padded size 64"


def test_the_pipeline_colorizes_as_model_and_processor_do(pipe, model):
    gray = textured(90, 121)
    processor = pipe.image_processor
    with torch.no_grad():
        (picture,) = processor.post_process_colorization(model(**processor(gray)), gray)
    assert difference(pipe(gray), picture) <= 1


def test_generators_are_worked_off_as_results_are_taken(pipe, monkeypatch):
    monkeypatch.setattr(pipeline_chromagan, "AHEAD_BATCHES", 2)
    taken = []

    def pictures():
        for seed in range(20):
            taken.append(seed)
            yield textured(40 + seed, 64, seed)

    results = pipe(pictures(), batch_size=3)
    assert next(results).size == (64, 40)
    assert len(taken) == 6
    assert [picture.size[1] for picture in results] == list(range(41, 60))


def test_large_pictures_are_not_collected_for_a_batch(pipe, monkeypatch):
    monkeypatch.setattr(pipeline_chromagan, "AHEAD_PIXELS", 10_000)
    taken = []
    results = pipe((taken.append(seed) or textured(80, 80, seed) for seed in range(5)), batch_size=4)
    next(results)
    assert len(taken) == 2


def test_data_sets_are_taken_by_index(pipe):
    rows = [{"image": textured(48, 64, seed)} for seed in range(3)]
    expected = pipe([row["image"] for row in rows])
    results = list(pipe(KeyDataset(rows, "image"), batch_size=2))
    assert len(results) == 3
    assert max(difference(*pair) for pair in zip(results, expected, strict=True)) <= 1


def test_settings_of_a_call_reach_the_processor(pipe, network_inputs):
    framed = np.full((160, 220), 8, np.uint8)
    framed[20:140, 30:190] = textured(120, 160)
    pipe(framed, size=64)
    pipe(framed, size=64, borders="keep")
    assert [shape[2] for shape in network_inputs] == [64, 64]
    assert np.ptp(np.asarray(pipe(framed))[:14], axis=2).max() == 0, "the margin is colored"
    assert np.ptp(np.asarray(pipe(framed, borders="keep"))[:14], axis=2).max() > 0
    gray = textured(90, 121)
    assert difference(pipe(gray, saturation=0), Image.fromarray(gray).convert("RGB")) == 0


def test_settings_of_the_pipeline_hold_until_a_call_changes_them(model, network_inputs):
    pipe = ChromaGANPipeline(model, device="cpu", size=48, batch_size=2)
    pipe([textured(48, 48)] * 2)
    pipe(textured(48, 48), size=32)
    assert network_inputs == [(2, 1, 64, 64), (1, 1, 32, 32)], "48 is padded to the network's multiple of 32"
    neutral = ChromaGANPipeline(model, device="cpu", saturation=0)
    gray = textured(90, 121)
    assert difference(neutral(gray), Image.fromarray(gray).convert("RGB")) == 0
    assert difference(neutral(gray, saturation=1), neutral(gray)) > 20


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"size": 8},
            "size is 8; accepted: shortest_edge, a whole number from 16 to 2048, alone or with longest_edge, "
            "1 to 64 times as many pixels",
        ),
        ({"saturation": -1}, "saturation is -1; accepted: a number from 0.0 to 2.0"),
        ({"borders": "cut"}, "borders is 'cut'; accepted: auto, keep"),
        ({"batch_size": 0}, "batch_size is 0; accepted: a whole number from 1 upwards"),
        ({"sise": 64}, "sise is unknown; accepted: size, borders, saturation, batch_size"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(pipe, setting, message):
    for inputs in (textured(48, 64), (textured(48, 64) for _ in range(1))):
        with pytest.raises((ValueError, TypeError)) as error:
            pipe(inputs, **setting)
        assert str(error.value) == message


@pytest.mark.parametrize("setting", [{"size": 8}, {"batch_size": 0}, {"batch_size": "2"}])
def test_wrong_settings_of_a_pipeline_are_refused_when_it_is_built(model, setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"^{name} is .+; accepted: .*a whole number from [^\n]+$"):
        ChromaGANPipeline(model, device="cpu", **setting)


def test_broken_pictures_are_named(pipe, tmp_path):
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0 and no more")
    for inputs in (broken, [textured(48, 64), broken], [str(broken)]):
        with pytest.raises(ImageLoadError, match=r"^\S*broken\.tif: [^\n]+$"):
            pipe(inputs, batch_size=2)
    with pytest.raises(ImageLoadError, match=r"^picture 2: [^\n]+$"):
        pipe([textured(48, 64), b"no picture"])


def test_half_precision_models_color_alike(model):
    gray = textured(90, 121)
    expected = np.asarray(ChromaGANPipeline(model, device="cpu")(gray), np.float32)
    pipe = ChromaGANPipeline(model.to(torch.bfloat16), device="cpu")
    assert pipe.dtype == torch.bfloat16
    for picture in (pipe(gray), *pipe([gray, gray], batch_size=2)):
        assert np.abs(np.asarray(picture, np.float32) - expected).mean() < 4


def test_models_in_training_are_put_in_evaluation_mode(model):
    model.train()
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    pipe = ChromaGANPipeline(model, device="cpu")
    assert not model.training
    pipe(textured(48, 64))
    assert all(torch.equal(value, statistics[name]) for name, value in model.state_dict().items())


def test_the_encodings_of_model_and_processor_must_agree(model):
    assert ChromaGANPipeline(model, device="cpu").image_processor.encoding == "unit8"
    with pytest.raises(ValueError, match=r"^encoding of the image processor is 'symmetric'; accepted: 'unit8'"):
        ChromaGANPipeline(model, ChromaGANImageProcessor(encoding="symmetric"))


def test_saved_folders_name_the_task_and_carry_the_code(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["custom_pipelines"] == {
        "image-to-image": {
            "impl": "pipeline_chromagan.ChromaGANPipeline",
            "pt": ["AutoModelForImageToImage"],
            "type": "image",
        }
    }
    assert config["auto_map"]["AutoModelForImageToImage"] == "modeling_chromagan.ChromaGANGenerator"
    files = {path.name for path in tmp_path.iterdir()}
    assert files >= {"model.safetensors", "preprocessor_config.json", "pipeline_chromagan.py", "image_loading.py"}
    assert not any((tmp_path / name).is_dir() for name in files)


STRANGER = """
import sys
from transformers import pipeline, AutoModelForImageToImage, AutoImageProcessor
sys.modules["modeling_chromagan"] = None  # importing the package fails, as where it is not installed
folder, picture, result = sys.argv[1:]
try:
    pipeline("image-to-image", model=folder, device="cpu", trust_remote_code=False)
except ValueError as error:
    assert "trust_remote_code" in str(error), error
else:
    raise AssertionError("code of the folder ran without being trusted")
pipe = pipeline("image-to-image", model=folder, device="cpu", trust_remote_code=True)
pipe(picture).save(result)
pipe = pipeline(model=folder, device="cpu", trust_remote_code=True)  # the only task needs no name
assert [image.size for image in pipe([picture] * 3, batch_size=2)] == [(121, 90)] * 3
try:
    pipe("missing.png")
except ValueError as error:
    assert str(error).startswith("missing.png: ") and type(error).__name__ == "ImageLoadError", repr(error)
AutoModelForImageToImage.from_pretrained(folder, device_map="auto", trust_remote_code=True)
assert AutoImageProcessor.from_pretrained(folder, trust_remote_code=True, backend="pil").size["shortest_edge"] == 32
pipe.save_pretrained(folder + "-again")
"""


@pytest.mark.slow
def test_strangers_load_a_saved_folder_with_remote_code(pipe, tmp_path):
    folder, again, picture, result = (tmp_path / name for name in ("saved", "saved-again", "in.png", "out.png"))
    pipe.save_pretrained(folder)
    gray = textured(90, 121)
    Image.fromarray(gray).save(picture)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    stranger = subprocess.run(
        [sys.executable, "-c", STRANGER, *map(str, (folder, picture, result))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert stranger.returncode == 0, stranger.stderr
    assert difference(Image.open(result), pipe(gray)) <= 1
    saved, saved_again = (
        {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()} for root in (folder, again)
    )
    assert set(saved_again) == set(saved)
    for name in saved:
        if name.endswith(".py"):
            assert saved_again[name] == saved[name], name
