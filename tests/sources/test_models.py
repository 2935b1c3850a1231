"""One loader: what is wrong with a model is one line that names it, wherever it is loaded."""

import argparse
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_chromagan import PACKAGED_WEIGHTS, ChromaGANGenerator
from modeling_chromagan.errors import SettingError
from modeling_chromagan.sources.models import (
    ModelError,
    find_model,
    load_colorizer,
    load_generator,
    load_image_processor,
    load_pipeline,
    locate_model,
)


def remove(name):
    return lambda folder: (folder / name).unlink()


def truncate(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:50])


def forget_one_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["network.chroma.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change(name, **settings):
    def write(folder):
        written = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(written | settings))

    return write


def pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove("config.json"), "has no config.json"),
        (remove("preprocessor_config.json"), "has no preprocessor_config.json"),
        (remove("model.safetensors"), "has no weights"),
        (pickle, "has no weights (*.safetensors)"),
        (
            change("config.json", model_type="resnet"),
            "cannot be loaded: model_type is 'resnet'; accepted: 'chromagan'",
        ),
        (truncate("config.json"), "cannot be loaded: "),
        (truncate("preprocessor_config.json"), "cannot be loaded: "),
        (truncate("model.safetensors"), "cannot be loaded: "),
        (forget_one_weight, "cannot be loaded: lacks 1 of its weights, network.chroma.weight among them"),
        (
            change("config.json", format_version=2),
            "cannot be loaded: format_version is 2, of a newer version of this package; accepted: up to 1",
        ),
        (change("config.json", width_multiplier=0.125), "cannot be loaded: "),
        (change("config.json", encoding="lab"), "cannot be loaded: encoding is 'lab'; accepted: unit8, symmetric"),
        (
            change("preprocessor_config.json", encoding="symmetric"),
            "cannot be loaded: encoding of the image processor is 'symmetric'",
        ),
    ],
)
def test_a_broken_model_is_one_line(tmp_path, model_folder, damage, reason):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    damage(folder)
    for load in (lambda: load_pipeline(find_model(str(folder))), lambda: load_pipeline(folder)):
        with pytest.raises(ModelError, match=r"^[^\n]{10,399}$") as refused:
            load()
        assert str(refused.value).removeprefix("--model ").startswith(f"{folder} {reason}")


def test_weights_of_another_shape_are_counted(tmp_path, model_folder):
    shutil.copytree(model_folder, tmp_path / "model")
    weights = load_file(model_folder / "model.safetensors")
    weights["network.chroma.weight"] = weights["network.chroma.weight"].repeat(2, 1, 1, 1)
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    reason = "1 of its weights have shapes that its config does not say, network.chroma.weight among them"
    with pytest.raises(ModelError, match=f"^{tmp_path / 'model'} cannot be loaded: {reason}, [^\n]+$"):
        load_generator(tmp_path / "model")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("nowhere", "nowhere: there is no such folder, and a Hub id has the form owner/name or owner/name@revision"),
        (
            "./no/where",
            "./no/where: there is no such folder, and a Hub id has the form owner/name or owner/name@revision",
        ),
        ("a.png", "a.png is a file; accepted: a folder or a Hub id"),
        (
            "owner/name",
            "owner/name: no such folder, not downloaded before, and the Hub cannot be reached",
        ),
    ],
)
def test_a_model_that_is_not_there_is_one_line(tmp_path, monkeypatch, model, reason):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    for load in (load_generator, load_image_processor, load_pipeline):
        with pytest.raises(ModelError) as refused:
            load(model)
        assert str(refused.value) == reason
    with pytest.raises(ModelError) as refused:
        load_pipeline(find_model(model))
    assert str(refused.value) == f"--model {reason}"


def test_the_option_wins_over_the_environment_and_that_over_the_package(monkeypatch, model_folder):
    monkeypatch.delenv("CHROMAGAN_MODEL", raising=False)
    assert find_model(None).place == str(PACKAGED_WEIGHTS)
    monkeypatch.setenv("CHROMAGAN_MODEL", str(model_folder))
    assert find_model(None) == locate_model(model_folder, f"CHROMAGAN_MODEL={model_folder}")
    monkeypatch.setenv("CHROMAGAN_MODEL", "nowhere")
    assert find_model(str(model_folder)).place == str(model_folder)
    with pytest.raises(ModelError, match=r"^CHROMAGAN_MODEL=nowhere: there is no such folder"):
        find_model(None)


def test_half_precision_weights_are_computed_in_float32(tmp_path, model_folder):
    ChromaGANGenerator.from_pretrained(model_folder, dtype=torch.float16).save_pretrained(tmp_path)
    generator = load_generator(tmp_path)
    assert {parameter.dtype for parameter in generator.parameters()} == {torch.float32}
    assert not generator.training
    assert load_generator(tmp_path, class_head=False).config.class_head is False


@pytest.mark.parametrize(
    ("device", "dtype", "reason"),
    [
        ("cuda", "auto", "--device cuda is not there; accepted here: auto, cpu"),
        ("mps", "auto", "--device mps is not there; accepted here: auto, cpu"),
        ("auto", "float16", "--dtype float16 needs a GPU; accepted on the CPU: auto, float32, bfloat16"),
    ],
)
def test_devices_that_are_not_there_are_refused(model_folder, monkeypatch, device, dtype, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SettingError) as refused:
        load_colorizer(locate_model(model_folder), argparse.Namespace(device=device, dtype=dtype))
    assert str(refused.value) == reason
