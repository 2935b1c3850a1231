"""A generator and a critic from outside the package: a class and a line each, and everything works with them."""

import json

import pytest
import torch
from conftest import ROOT
from torch import nn

from modeling_chromagan import ChromaGANConfig, ChromaGANCritic, ChromaGANGenerator, ChromaGANPipeline
from modeling_chromagan.architectures import CRITICS, GENERATORS
from modeling_chromagan.errors import SettingError
from modeling_chromagan.layers import CriticNetwork, GeneratorNetwork, GeneratorOutput, fold_batch_norm, scale_width
from modeling_chromagan.training.recipe import load_recipe


class Foreign(GeneratorNetwork):
    """One convolution with a batch norm at half the size, and a field of its own."""

    choices = {"finish": ("matt", "gloss")}  # noqa: RUF012
    size_multiple = 6
    minimum_size = 5
    chroma_stride = 2
    initial_std = 0.5
    backbone_parts = ("conv",)
    folds_batch_norms = True

    def __init__(self, *, encoding: str, width_multiplier: float = 2.0, finish: str = "matt", depth: int = 2):
        super().__init__()
        self.depth = depth
        width = scale_width(8 * depth, width_multiplier)
        self.conv = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.chroma = nn.Conv2d(width, 2, 1)

    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        assert not any(side % self.size_multiple for side in luminance.shape[-2:])
        x = self.norm(self.conv(luminance))
        ab = torch.sigmoid(self.chroma(x))
        return GeneratorOutput(nn.functional.interpolate(ab, scale_factor=2.0), (x,))

    @classmethod
    def refuses_batch(cls, batch_size: int, size: int, image_size: int | None = None) -> str | None:
        return "batch_size is 3; accepted: any other" if batch_size == 3 else None

    def load_backbone_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        self.conv.load_state_dict(tensors)

    def fold_batch_norms(self) -> None:
        self.norm = fold_batch_norm(self.norm, self.conv)


class ForeignCritic(CriticNetwork):
    minimum_size = 4
    feature_widths = (3,)

    def __init__(self, *, critic_width_multiplier: float, severity: float = 1.0):
        super().__init__()
        self.severity = severity
        self.score = nn.Conv2d(3, 1, 4, stride=4)

    def forward(self, picture: torch.Tensor, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return self.severity * self.score(picture) + features[0].mean()


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(GENERATORS, "foreign", Foreign)
    monkeypatch.setitem(CRITICS, "foreign", ForeignCritic)


def build(**settings) -> ChromaGANGenerator:
    torch.manual_seed(0)
    return ChromaGANGenerator(ChromaGANConfig(architecture="foreign", critic="foreign", **settings)).eval()


def test_its_own_fields_have_their_defaults_and_are_kept(tmp_path):
    assert build().network.depth == 2
    assert ChromaGANConfig(architecture="foreign").width_multiplier == 1, "the config's own fields have its defaults"
    assert ChromaGANConfig(architecture="foreign", width_multiplier=0.5).width_multiplier == 0.5
    build(depth=3, severity=2.0, width_multiplier=0.5).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert (stored["depth"], stored["severity"], stored["finish"]) == (3, 2.0, "matt")
    assert "trunk" not in stored
    assert "num_labels" not in stored
    loaded = ChromaGANGenerator.from_pretrained(tmp_path)
    assert loaded.network.depth == 3
    assert ChromaGANConfig.from_pretrained(tmp_path, depth=1).depth == 1


def test_loaded_it_gives_the_same(tmp_path):
    generator, luminance = build(), torch.rand(2, 1, 13, 20)
    generator.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(
            ChromaGANGenerator.from_pretrained(tmp_path)(luminance).reconstruction, generator(luminance).reconstruction
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "foreign", "trunk": "lite0"}, r"^trunk is 'lite0', which architecture foreign and critic "),
        ({"architecture": "foreign", "finish": "wet"}, r"^finish is 'wet'; accepted: matt, gloss$"),
        ({"depth": 3}, r"^depth is 3, which architecture chromagan_lite and critic chromagan do not read; accepted: "),
        ({"severity": 2.0}, r"^severity is 2\.0, which architecture chromagan_lite and critic chromagan do not read"),
    ],
)
def test_fields_are_refused_where_they_are_not_read(settings, message):
    with pytest.raises(ValueError, match=message):
        ChromaGANConfig(**settings)


def test_pictures_of_any_size_from_its_minimum_upwards():
    generator = build()
    with torch.no_grad():
        for height, width in ((5, 5), (6, 12), (13, 20)):
            output = generator(torch.rand(2, 1, height, width), output_hidden_states=True)
            assert output.reconstruction.shape == (2, 2, height, width)
            assert len(output.hidden_states) == 1
        with pytest.raises(ValueError, match=r"^picture is 4x9; accepted: at least 5 pixels a side$"):
            generator(torch.rand(1, 1, 4, 9))
    assert (output.logits, output.bin_logits) == (None, None)


def test_it_starts_as_it_says_and_learns(tmp_path):
    generator = build(depth=4).train()
    assert 0.4 < generator.network.conv.weight.std() < 0.6
    generator(torch.rand(2, 1, 12, 12), labels=torch.rand(2, 2, 12, 12)).loss.backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_it_folds():
    generator, luminance = build(), torch.rand(1, 1, 12, 12)
    generator.network.norm.running_mean.fill_(0.3)
    with torch.no_grad():
        plain = generator(luminance).reconstruction
        torch.testing.assert_close(generator.fold_batch_norms()(luminance).reconstruction, plain)
    assert isinstance(generator.network.norm, nn.Identity)


def test_the_pipeline_colors_with_it():
    picture = ChromaGANPipeline(build(), device="cpu")(torch.rand(40, 33))
    assert picture.size == (33, 40)


def test_the_critic_is_asked_with_its_features():
    critic = ChromaGANCritic(ChromaGANConfig(critic="foreign", severity=0.0))
    picture, features = torch.rand(1, 3, 8, 12), (torch.ones(1, 3, 2, 2),)
    assert torch.equal(critic(picture, features).scores, torch.ones(1, 1, 2, 3))
    with pytest.raises(ValueError, match=r"^features has no channels; accepted with critic foreign: \(3,\)$"):
        critic(picture)
    with pytest.raises(ValueError, match="at least 4 pixels a side"):
        critic(torch.rand(1, 3, 3, 8), features)


def test_a_recipe_names_them():
    foreign = "model={architecture: foreign, critic: foreign, depth: 3}"
    config = load_recipe(ROOT / "recipes" / "debug.yaml", [foreign]).build_config()
    assert (config.architecture, config.critic, config.depth) == ("foreign", "foreign", 3)


FOREIGN = ("model={architecture: foreign}", "backbone_weights=null")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            (*FOREIGN, "phases.0.objective.weights.class=1"),
            "weights.class is 1; accepted with foreign, which has no class head",
        ),
        ((*FOREIGN, "phases.0.objective.weights.bins=1"), "which predicts no distribution over colors: 0"),
        ((*FOREIGN, "phases.0.batches.0.batch_size=3"), "batch_size is 3; accepted: any other"),
        ((*FOREIGN, "extractor_weights=x"), "extractor_weights is 'x'; accepted with foreign: null"),
        (("model.depth=3",), "model.depth is not read by architecture labnet and critic chromagan; accepted: "),
        (("model.upsampling=subpixel",), "model.upsampling is not read by architecture labnet and critic chromagan;"),
        (("model.critic=judge",), f"model.critic is 'judge'; accepted: {', '.join(CRITICS)}, foreign"),
    ],
)
def test_a_recipe_is_refused_what_they_do_not_take(settings, message):
    with pytest.raises(SettingError) as refusal:
        load_recipe(ROOT / "recipes" / "labnet.yaml", settings)
    assert message in str(refusal.value)
