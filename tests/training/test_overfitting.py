"""Ten steps on eight pictures bring every objective down, from first losses that are known."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import train

DEBUG = str(ROOT / "recipes" / "debug.yaml")
STILL = 1e-9  # a learning rate at which a network stands still
ADVERSARIAL = {"weights": {"color": 0.001, "adversarial": 1}, "penalty_reduction": "root"}

# objective, generator's rate, critic's rate, the figure that falls, its first value, at most at the end
OBJECTIVES = {
    "mse": ({"color_loss": "mse"}, 3e-3, STILL, "color", 0.060256, 0.032),
    "l1": ({"color_loss": "l1"}, 3e-3, STILL, "color", 0.199583, 0.15),
    "huber": ({"color_loss": "huber", "huber_delta": 0.05}, 3e-3, STILL, "color", 0.0087885, 0.0062),
    "emphasis": ({"chroma_emphasis": 20, "chroma_emphasis_power": 2}, 3e-3, STILL, "color", 0.0792066, 0.05),
    "rebalanced": ({"weights": {"color": 0, "rebalanced": 1}}, 3e-3, STILL, "rebalanced", 0.315336, 0.235),
    "class": ({"weights": {"color": 0, "class": 1}}, 3e-3, STILL, "class", 0.707632, 0.45),
    "wasserstein generator": (
        ADVERSARIAL | {"adversarial": "wasserstein"},
        3e-3,
        STILL,
        "adversarial",
        -0.526515,
        -0.8,
    ),
    "bce generator": (ADVERSARIAL | {"adversarial": "bce"}, 3e-3, STILL, "adversarial", 0.526322, 0.47),
    "least squares generator": (
        ADVERSARIAL | {"adversarial": "least_squares"},
        3e-3,
        STILL,
        "adversarial",
        0.783971,
        0.56,
    ),
    "wasserstein critic": (ADVERSARIAL | {"adversarial": "wasserstein"}, STILL, 1e-3, "critic", 0.764935, 0.1),
    "bce critic": (ADVERSARIAL | {"adversarial": "bce"}, STILL, 1e-3, "critic", 1.54188, 1.4),
    "least squares critic": (ADVERSARIAL | {"adversarial": "least_squares"}, STILL, 1e-3, "critic", 1.24557, 0.58),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two classes of four drawn pictures, and one of each that is held out."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(10):
        place = folder / ("train" if i < 8 else "valid") / f"class{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        colors = np.random.default_rng(i).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(colors).resize((32, 32), Image.Resampling.BICUBIC).save(place / f"{i:02}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_ten_steps_on_eight_pictures_bring_the_objective_down(name, pictures, tmp_path):
    objective, generator_rate, critic_rate, figure, first, bound = OBJECTIVES[name]
    weights = {"class": 0, "adversarial": 0} | objective.get("weights", {})
    phase = {
        "name": "overfitting",
        "steps": 10,
        "batches": [{"size": 32, "batch_size": 8, "weights": {"pictures": 1}}],
        "objective": objective | {"weights": weights},
        "generator_optimizer": {"learning_rate": generator_rate, "betas": [0.9, 0.99]},
        "critic_optimizer": {"learning_rate": critic_rate, "betas": [0.5, 0.9]},
    }
    settings = {
        "data": {
            "sources": {"pictures": {"path": str(pictures), "use_labels": bool(weights["class"])}},
            "validation": {"source": "pictures", "split": "valid", "samples": 2},
            "min_colorfulness": 0,
        },
        "phases": [phase],
        "teacher": {"kind": "labels" if weights["class"] else "none"},
        "checkpoint_every": 10,
        "sample_every": 10,
        "threads": 1,
        "output": str(tmp_path / "run"),
    }
    assert train.main([DEBUG, *(f"{key}={json.dumps(value)}" for key, value in settings.items())]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line[figure] for line in lines if "total" in line]
    assert len(losses) == 10
    assert losses[0] == pytest.approx(first, rel=1e-2)
    assert np.mean(losses[-3:]) < bound, losses
