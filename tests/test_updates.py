"""What a step of training leaves alone, and at which rate the rest moves."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from modeling_chromagan.training.networks import Networks
from modeling_chromagan.training.processes import make_accelerator
from modeling_chromagan.training.recipe import Recipe, load_recipe
from modeling_chromagan.training.updates import Updates

DEBUG = Path(__file__).parents[1] / "recipes" / "debug.yaml"
MODEL = "trunk: lite0, width_multiplier: 0.25, decoder_widths: [32, 32, 32, 32, 32], num_labels: 2"
LITE = [f"model={{generator: chromagan_lite, {MODEL}}}", "threads=1", "phases.0.generator_optimizer.warmup_steps=0"]


def prepare(*settings: str) -> tuple[Recipe, Networks, Updates]:
    recipe = load_recipe(DEBUG, [*LITE, "phases.0.objective.bins_weight=0.1", *settings])
    accelerator = make_accelerator(recipe)
    networks = Networks(recipe, accelerator, None)
    updates = Updates(recipe, 0, networks, None, None, torch.ones(260), accelerator, Counter(), print)
    return recipe, networks, updates


def batch() -> dict:
    rgb = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return {"rgb": rgb, "label": torch.full((4,), -1), "kind": 0, "rows": torch.arange(4)}


@pytest.mark.parametrize("fixed", [True, False])
def test_fixed_batch_norms_keep_their_statistics_and_train_their_weights(fixed):
    _, networks, updates = prepare(f"phases.0.fixed_batch_norm={str(fixed).lower()}")
    before = {name: tensor.clone() for name, tensor in networks.generator.state_dict().items()}
    updates.update(0, batch())
    after = networks.generator.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    statistics = {name for name in before if "running" in name or "tracked" in name}
    norms = {name.replace("running_mean", "weight") for name in statistics if name.endswith("running_mean")}
    assert len(norms) > 40
    assert moved & statistics == (set() if fixed else statistics)
    # The head of the trunk and the classes have nothing to learn from here but through the fusion.
    assert moved & norms == norms


def test_backbone_moves_at_its_share_of_the_rate():
    # Adam's first step is as long as the learning rate, whatever the gradient.
    _, networks, updates = prepare("phases.0.generator_optimizer.backbone_learning_rate_share=0.25")
    updates.phase.generator_optimizer.weight_decay = 0
    before = {name: tensor.clone() for name, tensor in networks.generator.named_parameters()}
    updates.update(0, batch())
    lengths = {name: (p - before[name]).abs().median().item() for name, p in networks.generator.named_parameters()}
    assert lengths["network.trunk.stem.conv.weight"] == pytest.approx(0.25e-3, rel=1e-2)
    assert lengths["network.up2.conv1.weight"] == pytest.approx(1e-3, rel=1e-2)
    assert updates.optimizers["generator"].param_groups[0]["lr"] == pytest.approx(1e-3), "what the log shows"


def test_every_parameter_is_trained_once_whatever_the_share():
    for share in (1, 0.25):
        _, networks, updates = prepare(f"phases.0.generator_optimizer.backbone_learning_rate_share={share}")
        trained = [id(p) for group in updates.optimizers["generator"].param_groups for p in group["params"]]
        assert sorted(trained) == sorted(id(p) for p in networks.generator.parameters())
