"""A wrong recipe is one line naming the setting, before any work starts."""

from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from modeling_chromagan.errors import SettingError
from modeling_chromagan.training.recipe import dump_recipe, load_recipe

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
DEBUG = ROOT / "recipes" / "debug.yaml"


def refusal(*settings: str, recipe: Path = DEBUG) -> str:
    with pytest.raises(SettingError) as caught:
        load_recipe(recipe, settings)
    message = str(caught.value)
    assert "\n" not in message
    assert str(recipe) in message or "=" in message or "." in message
    return message


def test_there_are_recipes():
    published = {"basic", "labnet", "pix2pix_unet", "preincep", "preres", "resnet_unet_gan", "resnet_unet_pretrain"}
    assert {path.stem for path in RECIPES} >= published | {"chromagan", "chromagan_lite", "chromagan_tiny224", "debug"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_reads_and_survives_saving(path, tmp_path):
    recipe = load_recipe(path)
    saved = tmp_path / "recipe.yaml"
    saved.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(saved) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_opens_with_what_it_is_for_and_its_command(path):
    head = path.read_text(encoding="utf-8").split("\nname:")[0]
    assert "accelerate launch" in head


def test_published_recipe_has_the_published_numbers():
    recipe = load_recipe(DEBUG.with_name("chromagan.yaml"))
    (phase,) = recipe.phases
    objective, optimizer = phase.objective, phase.generator_optimizer
    assert {name: objective.weights[name] for name in objective.weighted} == {
        "color": 1,
        "adversarial": 0.1,
        "class": 0.003,
    }
    assert (objective.penalty_weight, objective.penalty_reduction) == (10, "sum")
    assert (objective.reuse_forward, objective.adaptive_weight) == (False, False)
    assert (optimizer.learning_rate, optimizer.betas) == (2e-5, (0.5, 0.999))
    config = recipe.build_config()
    assert (config.encoding, config.width_multiplier, config.critic_width_multiplier) == ("unit8", 1, 1)


def test_command_line_comes_last_and_reaches_into_lists():
    recipe = load_recipe(DEBUG, ["phases.1.steps=9", "phases.0.generator_optimizer.learning_rate=3e-4", "seed=5"])
    assert (recipe.phases[1].steps, recipe.phases[0].generator_optimizer.learning_rate, recipe.seed) == (9, 3e-4, 5)


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("stepz=3", ["stepz", "accepted", "phases"]),
        ("phases.0.objective.l1_weight=3", ["phases.0.objective", "'l1_weight'", "accepted", "weights"]),
        ("phases.0.objective.weights.l1=3", ["phases.0.objective.weights", "'l1'", "accepted: color, rebalanced"]),
        ("data.sources.pictures.pth=x", ["data.sources.pictures", "'pth'", "accepted", "path"]),
        ("phases.0.steps=many", ["phases.0.steps", "many", "accepted"]),
        ("phases.0.steps=2.5", ["phases.0.steps", "2.5"]),
        ("phases.0.steps=0", ["phases.0.steps", "0", "greater than 0"]),
        ("precision=float16", ["precision", "float16", "float32", "bfloat16"]),
        ("model.encoding=lab", ["encoding", "lab", "unit8", "symmetric"]),
        ("model.image_size=large", ["model", "image_size", "large", "int"]),
        ("model.architecture=unknown", ["model.architecture", "unknown", "chromagan"]),
        ("model.depth=3", ["model.depth", "accepted", "width_multiplier"]),
        ("phases.0.batches.0.weights.other=1", ["other", "accepted", "pictures"]),
        ("phases.0.objective.weights.class=1", ["teacher.kind", "none", "accepted"]),
        ("teacher.kind=labels", None),
        ("backbone_weights=somewhere", ["trunk_input", "raw", "imagenet"]),
        ("extractor_weights=somewhere", ["extractor_weights", "somewhere", "accepted with chromagan: null"]),
        ("phases.0.steps=null", ["phases.0", "steps", "epochs"]),
        ("phases.0.objective.color_loss=l2", ["phases.0.objective.color_loss", "l2", "mse, l1, huber, smooth_l1"]),
        (
            "phases.0.objective.weights.bins=1",
            ["phases.0.objective.weights.bins is 1", "accepted with chromagan", "0"],
        ),
        (
            "phases.1.critic_optimizer.backbone_learning_rate_share=0.5",
            ["phases.1.critic_optimizer.backbone_learning_rate_share is 0.5", "no backbone: 1"],
        ),
        ("phases.1.batches.0.size=[48, 16]", ["size", "[48, 16]", "[height, width]", "32"]),
        ("phases.1.batches.0.size=[32, 32, 32]", ["size", "[32, 32, 32]", "[height, width]"]),
        ("phases.1.batches.0.size=large", ["size", "'large'", "pixels a side"]),
        (
            "phases.1.objective.adversarial=relativistic",
            ["adversarial", "relativistic", "wasserstein", "bce", "least_squares", "hinge"],
        ),
        ("model.critic=stylegan", ["critic", "stylegan", "chromagan, pix2pix, projected"]),
        ("model.critic_norm=layer", ["critic_norm", "layer", "none, batch"]),
        ("data.validation.source=nowhere", ["data.validation.source", "nowhere", "pictures"]),
        ("phases.7.steps=1", ["phases.7.steps", "accepted: 0 to 1"]),
        ("steps", ["key=value"]),
        ("seed.x=1", ["seed"]),
    ],
)
def test_wrong_setting_is_named_with_what_is_accepted(setting, parts):
    if parts is None:  # fine while nothing asks for a class loss
        assert load_recipe(DEBUG, [setting]).teacher.kind == "labels"
        parts = ["use_labels"]
        message = refusal(setting, "phases.0.objective.weights.class=1")
    else:
        message = refusal(setting)
    for part in parts:
        assert part in message


def test_unreadable_recipes(tmp_path):
    assert "nothing.yaml" in refusal(recipe=tmp_path / "nothing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,\nb", encoding="utf-8")
    assert "not YAML" in refusal(recipe=broken)
    broken.write_text("- 1\n", encoding="utf-8")
    assert "list" in refusal(recipe=broken)
    broken.write_text(yaml.safe_dump({"name": "x"}), encoding="utf-8")
    assert "data is missing" in refusal(recipe=broken)


@pytest.mark.parametrize(
    ("field", "value"), [("trunk_input", "raw"), ("width_multiplier", 0.5), ("trunk_batch_norm", True)]
)
def test_pretrained_weights_want_the_network_that_they_belong_to(field, value):
    message = refusal(f"model.{field}={value}", recipe=DEBUG.with_name("chromagan.yaml"))
    assert f"model.{field} is {value!r}; accepted with backbone_weights" in message


def test_the_penalty_belongs_to_wasserstein_unless_the_recipe_says_otherwise():
    settings = ["phases.1.objective.adversarial=bce", "phases.1.objective.adaptive_weight=false"]
    assert load_recipe(DEBUG).phases[1].objective.penalty_weight == 10
    assert load_recipe(DEBUG, settings).phases[1].objective.penalty_weight == 0
    assert (
        load_recipe(DEBUG, [*settings, "phases.1.objective.penalty_weight=5"]).phases[1].objective.penalty_weight == 5
    )


def test_epochs_are_counted_over_the_sources_of_the_phase():
    phase = load_recipe(DEBUG, ["phases.0.steps=null", "phases.0.epochs=3"]).phases[0]
    assert phase.steps_for({"pictures": 100, "unused": 7}) == 75
    assert load_recipe(DEBUG, ["phases.0.epochs=3"]).phases[0].steps_for({"pictures": 100}) == 2
    with pytest.raises(SettingError, match=r"^phase color: epochs is 3, .* accepted: steps$"):
        phase.steps_for({"pictures": None})
