"""docs/architecture.md and its figures say what the code does: names, shapes, weights, objectives."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch import nn

from modeling_chromagan import ChromaGANConfig
from modeling_chromagan.architectures import CRITICS, GENERATORS
from modeling_chromagan.training.recipe import Recipe, load_recipe

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.yaml") if path.stem != "debug")
FIGURES = sorted((ROOT / "docs" / "figures").glob("*.svg"))
TIMES = "\N{MULTIPLICATION SIGN}"
SVG = "{http://www.w3.org/2000/svg}"
COLOR_TERMS = {"mse": "MSE", "l1": "L1", "huber": "Huber", "smooth_l1": "smooth L1"}
CLASS_TERMS = {"vgg16": "KL", "auto": "KL", "lite": "KL", "labels": "cross-entropy of labels"}
CONVOLUTIONS = {f"conv{i}" for i in range(1, 6)}
DRAWN_OF_CRITICS = {
    "chromagan": CONVOLUTIONS,
    "pix2pix": CONVOLUTIONS,
    "projected": {f"{part}.{scale}" for part in ("mix", "merge", "heads") for scale in range(4)} | {"lab"},
}
ADVERSARIAL_TERMS = {"wasserstein": "WGAN-GP", "bce": "BCE", "least_squares": "least squares", "hinge": "hinge"}


def weights(module: nn.Module) -> str:
    """How many numbers a saved model holds for `module`, the counters of its batch norms left out."""
    numbers = [tensor.numel() for name, tensor in module.state_dict().items() if "num_batches_tracked" not in name]
    return f"{sum(numbers):,}"


def on_meta(config: ChromaGANConfig) -> nn.Module:
    with torch.device("meta"):
        return GENERATORS[config.architecture].from_config(config).eval()


def critic_on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return CRITICS[name].from_config(ChromaGANConfig(critic=name))


def table_rows(first_header: str, text: str = PAGE) -> dict[str, list[str]]:
    """Cells of the table in `text` that starts with that header, by the name in their first cell."""
    table = re.search(rf"^\| {first_header} \|.*\n\|[-:|]+\|\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    assert table, f"docs/architecture.md has no table of {first_header}s"
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.group(1).splitlines()]
    return {re.search(r"[\w.]+", row[0]).group(): row for row in rows}


def terms(recipe: Recipe) -> set[str]:
    """The terms of all phases of a recipe, each with its weight in front unless that is 1 or adaptive."""
    found = set()
    for objective in (phase.objective for phase in recipe.phases):
        names = {
            "color": COLOR_TERMS[objective.color_loss],
            "class": CLASS_TERMS.get(recipe.teacher.kind),
            "adversarial": ADVERSARIAL_TERMS[objective.adversarial],
        }
        for term in objective.weighted:
            adaptive = term == "adversarial" and objective.adaptive_weight
            weight, name = objective.weights[term], names.get(term, term)
            found.add(name if weight == 1 or adaptive else f"{weight:g} {name}")
    return found


def test_every_generator_and_critic_has_its_place():
    assert len(GENERATORS) >= 8
    headings = " ".join(re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)).lower()
    for name, network in GENERATORS.items():
        assert name in headings.split(), name
        assert f"`{network.__name__}`" in PAGE
    for name, network in CRITICS.items():
        assert f"`critic: {name}`" in PAGE
        assert f"`{network.__name__}`" in PAGE


def test_every_recipe_has_a_row_and_no_other():
    assert len(RECIPES) >= 10
    assert set(table_rows("recipe")) == {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_row_of_a_recipe_is_true(path, extractors):
    recipe = load_recipe(path)
    config = recipe.build_config()
    _, generator, objective, own_weights, critic_weights = table_rows("recipe")[path.stem]
    assert generator == f"`{config.architecture}`"
    named = set(re.split(r" \+ |, then also ", re.sub(r" at \S+ of the color term's gradient", "", objective)))
    assert named == terms(recipe)
    for ratio in re.findall(r"at (\S+) of the color term's gradient", objective):
        phases = [phase.objective for phase in recipe.phases if phase.objective.adaptive_weight]
        assert float(ratio) in [objective.weights["adversarial"] for objective in phases]

    network = on_meta(config)
    if network.extractor_parts:
        extractor, network.extractor = network.extractor, nn.Identity()
        if "timm" in type(extractor).__module__:
            assert own_weights.endswith(f" + extractor {weights(extractor)}")
        own_weights = own_weights.split(" + ")[0]
    assert own_weights == weights(network)
    assert own_weights in PAGE.split(f"`{type(network).__name__}`", 1)[1]
    if any(phase.objective.is_adversarial for phase in recipe.phases):
        critic = CRITICS[config.critic].from_config(config)
        assert critic_weights == weights(critic)
    else:
        assert critic_weights == "none"


@pytest.mark.parametrize(("generator", "heading"), [("chromagan_lite", "chromagan_lite"), ("chromagan", "ChromaGAN")])
def test_modules_of_chromagan_are_all_there_with_their_weights(generator, heading):
    network = on_meta(ChromaGANConfig(architecture=generator))
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = table_rows("module", section)
    assert set(rows) == {name for name, _ in network.named_children()}
    for name, row in rows.items():
        assert row[-1] == weights(network.get_submodule(name)), name
    assert weights(network) in section
    assert weights(on_meta(ChromaGANConfig(architecture=generator, class_head=False))) in section


def test_repetition_saves_weights_in_the_resnet_unet():
    assert weights(on_meta(ChromaGANConfig(architecture="resnet_unet", upsampling="nearest"))) in PAGE


def test_every_figure_is_shown_and_every_link_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if not link.startswith(("http", "#"))]
    assert {path for link in links if not (path := ROOT / "docs" / link).exists()} == set()
    assert {link for link in links if link.endswith(".svg")} == {f"figures/{path.name}" for path in FIGURES}
    assert len(FIGURES) >= 7


def figure(path: Path) -> ElementTree.Element:
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    assert root.tag == f"{SVG}svg"
    return root


def shapes_of(network: nn.Module, *inputs: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """What leaves every submodule, by its name, without the batch; also `input`, `output` and logits."""
    found = {"input": tuple(inputs[0].shape[1:])}

    def note(name: str):
        def hook(module, arguments, output):
            tensor = output if isinstance(output, torch.Tensor) else output[0]
            found[name or "output"] = tuple(tensor.shape[1:])
            for value in ("class_logits", "bin_logits"):
                if getattr(output, value, None) is not None:
                    found[value] = tuple(getattr(output, value).shape[1:])

        return hook

    for name, module in network.named_modules():
        module.register_forward_hook(note(name))
    network(*inputs)
    return found


def written_shape(block: ElementTree.Element, generator: str | None) -> tuple[int, ...]:
    """The shape on a block; of several the one for that generator."""
    texts = [text for text in block.iter(f"{SVG}text") if "shape" in text.get("class", "").split()]
    (text,) = [text for text in texts if text.get("data-generator") in (None, generator)]
    numbers = re.search(rf"\d+(?: {TIMES} \d+)*$", text.text).group()
    return tuple(int(number) for number in numbers.split(f" {TIMES} "))


def check_blocks(part: ElementTree.Element, shapes: dict[str, tuple[int, ...]], generator: str | None = None) -> set:
    """Every block with a module's or a value's name has its shape; returns the modules."""
    modules = set()
    for block in part.iter(f"{SVG}g"):
        module, value = block.get("data-module"), block.get("data-value")
        if module:
            assert [text.text for text in block.iter(f"{SVG}text") if text.get("class").startswith("name")] == [module]
            modules.add(module)
        if module or value:
            assert written_shape(block, generator) == shapes[module or value], module or value
    return modules


DRAWN = [(path, name) for path in FIGURES for name in figure(path).get("data-generator", "").split()]


def test_every_generator_is_drawn_once():
    assert sorted(name for _, name in DRAWN) == sorted(GENERATORS)


@pytest.mark.parametrize(("path", "name"), DRAWN, ids=[name for _, name in DRAWN])
def test_figure_has_the_modules_and_shapes_of_the_network(path, name, extractors):
    root = figure(path)
    size = int(root.get("data-size"))
    network = on_meta(ChromaGANConfig.from_dict({"architecture": name, "image_size": size}))
    modules = check_blocks(root, shapes_of(network, torch.zeros(1, 1, size, size, device="meta")), name)
    assert {module.split(".")[0] for module in modules} == {child for child, _ in network.named_children()}
    if name == "chromagan":
        assert size == 224
        assert {f"trunk.{i}" for i in range(4)} < modules
        (critic,) = [block for block in root.iter(f"{SVG}g") if block.get("data-critic") == "chromagan"]
        scores = shapes_of(critic_on_meta("chromagan"), torch.zeros(1, 3, size, size, device="meta"))["output"]
        assert written_shape(critic, None) == scores


def frozen_features(critic: nn.Module, size: int) -> tuple[torch.Tensor, ...]:
    """Features of a picture as a critic takes them besides; none for critics that look at pictures alone."""
    sides = [size // stride for stride in (4, 8, 16, 32)]
    widths = zip(critic.feature_widths, sides, strict=False)
    return tuple(torch.zeros(1, width, side, side, device="meta") for width, side in widths)


def test_figure_of_the_critics_has_their_layers_and_shapes():
    root = figure(ROOT / "docs" / "figures" / "critics.svg")
    size = int(root.get("data-size"))
    parts = {part.get("data-critic"): part for part in root.iter(f"{SVG}g") if part.get("data-critic")}
    assert set(parts) == set(CRITICS)
    for name, part in parts.items():
        critic = critic_on_meta(name)
        features = frozen_features(critic, size)
        shapes = shapes_of(critic, torch.zeros(1, 3, size, size, device="meta"), *([features] if features else []))
        shapes |= {f"features.{scale}": tuple(feature.shape[1:]) for scale, feature in enumerate(features)}
        assert check_blocks(part, shapes) == DRAWN_OF_CRITICS[name]


def test_modules_of_the_projected_critic_are_all_there_with_their_scores_and_weights():
    section = PAGE[PAGE.index("## The critics") :]
    critic = critic_on_meta("projected")
    rows = table_rows("module", section)
    assert set(rows) == {name for name, _ in critic.named_children()}
    for name, row in rows.items():
        assert row[-1] == weights(critic.get_submodule(name)), name
    assert f"none of its {weights(critic)} weights" in section.replace("\n", " ")
    scores = critic(torch.zeros(1, 3, 224, 224, device="meta"), frozen_features(critic, 224))
    sizes = [f"{map_.shape[2]} {TIMES} {map_.shape[3]}" for map_ in scores]
    assert rows["heads"][2] == f"1 {TIMES} " + ", ".join(sizes[:-1])
    assert rows["lab"][2] == f"1 {TIMES} {sizes[-1]}"
