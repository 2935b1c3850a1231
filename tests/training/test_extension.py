"""A generator, a critic, a loss term, a game and a metric from outside the package: one line each, and they train."""

import json

import pytest
import torch
import yaml
from debug_run import draw_pictures
from safetensors.torch import load_file
from torch import nn

import train
from modeling_chromagan import ChromaGANGenerator
from modeling_chromagan.architectures import CRITICS, GENERATORS
from modeling_chromagan.evaluation.metrics import METRICS, Metric
from modeling_chromagan.layers import CriticNetwork, GeneratorNetwork, GeneratorOutput
from modeling_chromagan.training.adversarial import GAMES, Game
from modeling_chromagan.training.objectives import COLOR_ERRORS, TERMS, LossInputs, TermKind


class TwoLayers(GeneratorNetwork):
    """Colors of a place from the luminance around it."""

    def __init__(self, *, encoding: str, channels: int = 8):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, padding=1)
        self.chroma = nn.Conv2d(channels, 2, 3, padding=1)

    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        return GeneratorOutput(self.chroma(self.conv(luminance).relu()).sigmoid())


class OneLayer(CriticNetwork):
    """A score for every four by four pixels."""

    def __init__(self, *, slope: float = 0.2):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 4, stride=4)
        self.slope = slope

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(self.conv(picture), self.slope)


def total_variation(inputs: LossInputs) -> torch.Tensor:
    """Mean difference of neighboring colors (Rudin, Osher and Fatemi, 1992)."""
    return sum(inputs.colors.diff(dim=side).abs().mean() for side in (2, 3))


@pytest.fixture
def extended(monkeypatch):
    monkeypatch.setitem(GENERATORS, "two_layers", TwoLayers)
    monkeypatch.setitem(CRITICS, "one_layer", OneLayer)
    monkeypatch.setitem(TERMS, "total_variation", TermKind(total_variation))
    monkeypatch.setitem(COLOR_ERRORS, "fourth", lambda inputs: (inputs.colors - inputs.target) ** 4)
    monkeypatch.setitem(GAMES, "shifted", Game(lambda fake: 1 - fake.mean(), lambda real, fake: (fake - real).mean()))
    monkeypatch.setitem(
        METRICS, "red", Metric("red", measure=lambda pair: pair.prediction[:, 0].double().mean((1, 2)))
    )


def test_what_comes_from_outside_trains_four_steps(extended, tmp_path, capsys):
    draw_pictures(tmp_path / "pictures")
    recipe = {
        "model": {"architecture": "two_layers", "channels": 12, "critic": "one_layer", "slope": 0.3},
        "teacher": {"kind": "none"},
        "data": {
            "sources": {"pictures": {"path": str(tmp_path / "pictures")}},
            "validation": {"fraction": 0.25, "samples": 2},
            "min_colorfulness": 0,
        },
        "phases": [
            {
                "name": "both",
                "steps": 4,
                "batches": [{"size": 32, "batch_size": 2, "weights": {"pictures": 1}}],
                "objective": {
                    "weights": {"class": 0, "total_variation": 0.5},
                    "color_loss": "fourth",
                    "adversarial": "shifted",
                },
            }
        ],
        "log_every": 1,
        "threads": 1,
        "output": str(tmp_path / "run"),
    }
    path = tmp_path / "extended.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert train.main([str(path)]) == 0, capsys.readouterr().err

    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line for line in lines if "total" in line]
    assert [line["step"] for line in losses] == [1, 2, 3, 4]
    assert all(line["total_variation"] > 0 for line in losses)
    assert {"adversarial", "critic", "critic_d_prime"} < losses[-1].keys()
    (measured,) = [line for line in lines if "validation_red" in line]
    assert 0 < measured["validation_red"] < 255
    model = ChromaGANGenerator.from_pretrained(tmp_path / "run" / "model")
    assert type(model.network) is TwoLayers
    assert load_file(tmp_path / "run" / "model" / "model.safetensors")["network.conv.weight"].shape[0] == 12
