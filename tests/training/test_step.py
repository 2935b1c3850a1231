"""What a step of training leaves alone, and at which rate the rest moves."""

from unittest import mock

import pytest
import torch
from conftest import ROOT

from modeling_chromagan.color import rgb8_to_lab
from modeling_chromagan.training.frozen_features import PictureFeatures
from modeling_chromagan.training.networks import Networks
from modeling_chromagan.training.recipe import Optimizer, Recipe, load_recipe
from modeling_chromagan.training.run.processes import make_accelerator
from modeling_chromagan.training.step import NonFiniteError, TrainingStep, schedule
from modeling_chromagan.trunk_efficientnet_lite import EfficientNetLite

DEBUG = ROOT / "recipes" / "debug.yaml"
MODEL = "trunk: lite0, width_multiplier: 0.25, decoder_widths: [32, 32, 32, 32, 32], num_labels: 2"
LITE = [f"model={{architecture: chromagan_lite, {MODEL}}}", "threads=1", "phases.0.generator_optimizer.warmup_steps=0"]


def prepare(*settings: str, features: PictureFeatures | None = None) -> tuple[Recipe, Networks, TrainingStep]:
    recipe = load_recipe(DEBUG, [*LITE, "phases.0.objective.weights.bins=0.1", *settings])
    accelerator = make_accelerator(recipe)
    with mock.patch("modeling_chromagan.training.networks.load_picture_features", return_value=features):
        networks = Networks(recipe, accelerator)
    return recipe, networks, TrainingStep(recipe, 0, networks, accelerator, {"bins": torch.ones(260)}, print)


def batch() -> dict:
    rgb = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return {"rgb": rgb, "label": torch.full((4,), -1), "kind": 0, "rows": torch.arange(4)}


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bfloat16_is_computed_where_there_are_instructions_for_it(name, monkeypatch):
    _, _, step = prepare("precision=bfloat16")
    for found in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: {name: found})
        with step.precision():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if found else torch.float32)


@pytest.mark.parametrize("fixed", [True, False])
def test_fixed_batch_norms_keep_their_statistics_and_train_their_weights(fixed):
    _, networks, step = prepare(f"phases.0.fixed_batch_norm={str(fixed).lower()}")
    before = {name: tensor.clone() for name, tensor in networks.generator.state_dict().items()}
    step.update(0, batch())
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
    _, networks, step = prepare("phases.0.generator_optimizer.backbone_learning_rate_share=0.25")
    step.phase.generator_optimizer.weight_decay = 0
    before = {name: tensor.clone() for name, tensor in networks.generator.named_parameters()}
    step.update(0, batch())
    lengths = {name: (p - before[name]).abs().median().item() for name, p in networks.generator.named_parameters()}
    assert lengths["network.trunk.stem.conv.weight"] == pytest.approx(0.25e-3, rel=1e-2)
    assert lengths["network.up2.conv1.weight"] == pytest.approx(1e-3, rel=1e-2)
    assert step.optimizers["generator"].param_groups[0]["lr"] == pytest.approx(1e-3), "what the log shows"


def test_every_parameter_is_trained_once_whatever_the_share():
    for share in (1, 0.25):
        _, networks, step = prepare(f"phases.0.generator_optimizer.backbone_learning_rate_share={share}")
        trained = [id(p) for group in step.optimizers["generator"].param_groups for p in group["params"]]
        assert sorted(trained) == sorted(id(p) for p in networks.generator.parameters())


class Watched(PictureFeatures):
    """Remembers the luminance of the pictures that it saw."""

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.luminances.append(picture[:, :1].detach().clone())
        return super().forward(picture)


@pytest.mark.parametrize("reuse", [True, False])
def test_a_projected_critic_and_the_perceptual_term_teach_both_networks(reuse):
    torch.manual_seed(0)
    features = Watched(EfficientNetLite("lite0", head=False), "unit8")
    features.luminances = []
    frozen = {name: tensor.clone() for name, tensor in features.state_dict().items()}
    objective = "weights: {class: 0, perceptual: 0.5, adversarial: 2}, adversarial: hinge, adaptive_weight: true"
    _, networks, step = prepare(
        "model.critic=projected",
        "model.critic_width_multiplier=0.125",
        f"phases.0.objective={{{objective}, reuse_forward: {str(reuse).lower()}, adversarial_ramp_steps: 4}}",
        "phases.0.batches.0.degradation={gamma: 1, grain: 1}",
        "phases.1.objective.adversarial=hinge",
        features=features,
    )
    before = {
        name: {k: t.clone() for k, t in networks.by_name[name].state_dict().items()} for name in networks.by_name
    }
    losses = [step.update(number, batch()) for number in range(2)]
    assert [loss["adversarial_gradient_ratio"].item() for loss in losses] == pytest.approx([0.5, 1.0], rel=1e-3)
    assert losses[0]["critic"].item() == pytest.approx(2, abs=0.5), "hinge of scores around zero"
    for name in ("generator", "critic"):
        for key, parameter in networks.by_name[name].named_parameters():
            if parameter.shape == (1,):  # of a critic's last bias, which photographs and fakes move as much
                continue
            learns = not key.startswith(("network.bins", "network.class_head"))  # neither has a term here
            assert torch.equal(parameter, before[name][key]) != learns, key
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in features.state_dict().items())
    # Truth, prediction and the critic's fakes, all under the clean luminance, whatever the generator was given.
    assert len(features.luminances) == 6
    for seen in features.luminances:
        torch.testing.assert_close(seen, rgb8_to_lab(batch()["rgb"])[:, :1] / 100)


def test_a_patch_critic_takes_no_features_beside_a_perceptual_term():
    torch.manual_seed(0)
    features = PictureFeatures(EfficientNetLite("lite0", head=False), "unit8")
    objective = "weights: {class: 0, perceptual: 0.5}"
    _, _, step = prepare(f"phases.0.objective={{{objective}}}", features=features)
    losses = step.update(0, batch())
    assert {"perceptual", "adversarial", "penalty"} < set(losses)


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, 0.5 + 0.5**0.5 / 2, 0.5, 0.5 - 0.5**0.5 / 2]),
    ],
)
def test_schedules_fall_to_zero_over_the_steps_of_a_phase(name, factors):
    settings = Optimizer(schedule=name)
    assert [schedule(settings, 4, step) for step in range(4)] == pytest.approx(factors)
    assert schedule(settings, 4, 4) == pytest.approx(float(name == "constant"))
    assert schedule(settings, 4, 9) == schedule(settings, 4, 4), "a finished phase does not go on"


def test_warm_up_rises_evenly_under_the_schedule():
    settings = Optimizer(schedule="linear", warmup_steps=4)
    assert [schedule(settings, 8, step) for step in range(5)] == pytest.approx(
        [1 / 4, 2 / 4 * 7 / 8, 3 / 4 * 6 / 8, 5 / 8, 4 / 8]
    )


def test_a_step_has_the_rate_of_its_place_in_the_phase():
    _, _, step = prepare("phases.0.steps=4", "phases.0.generator_optimizer.schedule=linear")
    for number, rate in ((0, 1e-3), (3, 0.25e-3)):
        step.update(number, batch())
        assert step.optimizers["generator"].param_groups[0]["lr"] == pytest.approx(rate)


def test_average_keeps_its_decay_of_what_it_was_and_takes_the_rest_of_the_new_weights():
    _, networks, step = prepare("ema_decay=0.9")
    before = {name: tensor.clone() for name, tensor in networks.generator.state_dict().items()}
    step.update(0, batch())
    after, average = networks.generator.state_dict(), networks.best_generator.state_dict()
    for name in ("network.up2.conv1.weight", "network.enter_norm.running_var"):
        assert not torch.equal(after[name], before[name])
        torch.testing.assert_close(average[name], 0.9 * before[name] + 0.1 * after[name])


def test_average_has_a_thousandth_of_every_step_unless_a_recipe_says_otherwise():
    assert load_recipe(DEBUG).ema_decay == 0.999
    _, networks, _ = prepare("ema_decay=0")
    assert networks.average is None
    assert networks.best_generator is networks.generator


def test_a_step_that_is_not_finite_is_skipped_or_ends_the_run():
    for choice in ("skip", "stop"):
        skipped = []
        _, networks, step = prepare(f"non_finite={choice}")
        step.skip = lambda network, report, skipped=skipped: skipped.append((network, report))
        with torch.no_grad():
            networks.generator.network.chroma.bias.fill_(torch.nan)
        weights = networks.generator.network.up2.conv1.weight.clone()
        if choice == "stop":
            with pytest.raises(NonFiniteError, match=r"^step 1: the generator's loss is nan"):
                step.update(0, batch())
        else:
            step.update(0, batch())
            assert skipped == [("generator", "step 1: the generator's loss is nan")]
        assert torch.equal(networks.generator.network.up2.conv1.weight, weights)
