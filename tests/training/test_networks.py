"""The networks of a training: their first weights, and what is refused of those."""

import shutil
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from conftest import ROOT
from torch import nn

from modeling_chromagan.errors import SettingError
from modeling_chromagan.training import networks as networks_module
from modeling_chromagan.training.networks import Networks
from modeling_chromagan.training.recipe import load_recipe

COLOR_ALONE = ("phases.1.objective.weights.adversarial=0", "phases.1.objective.adaptive_weight=false")


def networks_of(*settings: str, class_names: list[str] | None = None) -> Networks:
    recipe = load_recipe(ROOT / "recipes" / "debug.yaml", ["seed=1", *settings])
    return Networks(recipe, Accelerator(cpu=True), class_names)


def refusal(*settings: str) -> str:
    with pytest.raises(SettingError) as error:
        networks_of(*settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def equal(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """What a training with the seed 7 leaves: a model with its critic."""
    folder = tmp_path_factory.mktemp("run")
    networks = networks_of("seed=7")
    networks.generator.save_pretrained(folder / "model")
    networks.critic.save_pretrained(folder / "model" / "critic")
    return folder


def test_first_weights_follow_the_seed():
    one, same, other = networks_of(), networks_of(), networks_of("seed=2")
    assert equal(one.generator, same.generator)
    assert equal(one.critic, same.critic)
    assert not equal(one.generator, other.generator)
    assert not equal(one.critic, other.critic)


@pytest.mark.parametrize("place", ["", "model"], ids=["run", "model"])
def test_a_start_from_a_run_or_a_model_takes_both_networks_and_the_average(place, run_folder):
    started, theirs = networks_of(f"init_from={run_folder / place}", "ema_decay=0.9"), networks_of("seed=7")
    assert equal(started.generator, theirs.generator)
    assert equal(started.critic, theirs.critic)
    assert equal(started.best_generator, theirs.generator), "the average begins with other weights"
    assert started.by_name.keys() == {"generator", "critic", "average"}


def test_a_generator_that_was_trained_alone_starts_beside_a_new_critic(run_folder, tmp_path):
    shutil.copytree(run_folder / "model", tmp_path / "model", ignore=shutil.ignore_patterns("critic"))
    started, new = networks_of(f"init_from={tmp_path}"), networks_of()
    assert equal(started.generator, networks_of("seed=7").generator)
    assert equal(started.critic, new.critic)


def test_a_folder_that_is_not_there_is_named_with_what_would_be_taken(tmp_path):
    folder = tmp_path / "none"
    reason = f"init_from: {folder}: there is no such folder, and a Hub id has the form owner/name"
    assert refusal(f"init_from={folder}").startswith(reason)
    folder.touch()
    assert refusal(f"init_from={folder}").startswith(f"init_from: {folder} is a file; accepted: ")


def test_a_folder_without_a_model_is_named(tmp_path):
    message = refusal(f"init_from={tmp_path}")
    assert message.startswith(f"init_from: {tmp_path}: ")
    assert message.endswith("; accepted: a run or model folder")


def test_weights_of_another_shape_are_counted_and_the_first_is_named(run_folder):
    message = refusal(f"init_from={run_folder}", "model.width_multiplier=0.125")
    assert message.startswith(f"init_from: {run_folder / 'model'}: ")
    assert "weights of the recipe's generator are missing or of another shape, network." in message
    assert message.endswith(" is the first; accepted: a model of the recipe's shape")


def test_a_critic_of_another_shape_is_refused_where_it_has_a_part_to_play(run_folder):
    settings = f"init_from={run_folder}", "model.critic_width_multiplier=0.125"
    message = refusal(*settings)
    assert message.startswith(f"init_from: {run_folder / 'model' / 'critic'}: ")
    assert "weights of the recipe's critic are missing or of another shape" in message
    alone = networks_of(*settings, *COLOR_ALONE)
    assert equal(alone.generator, networks_of("seed=7").generator)
    assert equal(alone.critic, networks_of("model.critic_width_multiplier=0.125").critic)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("this generator needs timm"), "model.architecture: this generator needs timm"),
        (
            RuntimeError("[enforce fail] not enough memory:\nyou tried to allocate 9 bytes"),
            "model: [enforce fail] not enough memory: you tried to allocate 9 bytes; accepted: networks that fit into "
            "memory",
        ),
        (MemoryError(), "model: MemoryError; accepted: networks that fit into memory"),
    ],
)
def test_networks_that_cannot_be_built_are_one_line(error, message, monkeypatch):
    def fail(config):
        raise error

    monkeypatch.setattr(networks_module, "ChromaGANGenerator", fail)
    assert refusal() == message


def test_class_names_of_the_data_become_the_model_s():
    labels = ("teacher.kind=labels", "data.sources.pictures.use_labels=true", "phases.0.objective.weights.class=1")
    config = networks_of(*labels, class_names=["lemon", "bus"]).generator.config
    assert config.id2label == {0: "lemon", 1: "bus"}
    assert config.label2id == {"lemon": 0, "bus": 1}
    assert networks_of(class_names=["lemon", "bus"]).generator.config.id2label[0] == "LABEL_0", "labels teach nothing"


def test_without_an_average_the_generator_is_the_best():
    networks = networks_of("ema_decay=0")
    assert networks.best_generator is networks.generator
    assert networks.by_name.keys() == {"generator", "critic"}
    averaged = networks_of("ema_decay=0.5")
    before = averaged.generator.network.chroma.weight.detach().clone()
    with torch.no_grad():
        averaged.generator.network.chroma.weight.add_(1)
    averaged.average.update_parameters(averaged.generator)
    torch.testing.assert_close(averaged.best_generator.network.chroma.weight.detach(), before + 0.5)
