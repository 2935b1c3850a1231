"""Every shipped recipe really trains: a few steps from its own file on drawn pictures, at its own size.

Only what a test machine cannot have is replaced, all of it in `overrides`: data, steps, batch sizes, downloads, and
the width of the published network, whose 171 million weights, with all that a checkpoint holds, take a minute of a
core. At its own width every recipe takes a step of each phase in `test_steps_stay_on_the_networks_device`.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save_file

import train
from modeling_chromagan import ChromaGANPipeline, cli
from modeling_chromagan.training.run.checkpoint import list_checkpoints
from modeling_chromagan.trunk_efficientnet_lite import EfficientNetLiteClassifier

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
NEEDS_TIMM = {"preincep", "preres"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two classes of six drawn pictures, as a folder."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(12):
        place = folder / f"class{i % 2}"
        place.mkdir(exist_ok=True)
        colors = np.random.default_rng(i).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(colors).resize((96, 80), Image.Resampling.BICUBIC).save(place / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Where each recipe is trained once, by whichever of the tests' processes comes first."""
    temporary = tmp_path_factory.getbasetemp()
    folder = (temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary) / "recipes"
    folder.mkdir(exist_ok=True)
    return folder


def random_weights(name: str, runs: Path) -> str:
    """What stands for the published weights of that name: a folder with random ones, or `null`, none."""
    variant = re.search(r"lite\d", name)
    if variant is None:
        return "null"
    folder = runs / "weights" / variant[0]
    with FileLock(runs / "weights.lock"):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            classifier = EfficientNetLiteClassifier(variant[0])
            tensors = {key.removeprefix("trunk."): tensor for key, tensor in classifier.state_dict().items()}
            save_file(tensors, folder / "model.safetensors")
    return str(folder)


def overrides(name: str, pictures: Path, runs: Path) -> list[str]:
    """What a shipped recipe is run with here instead of its own."""
    recipe = yaml.safe_load((RECIPES[0].parent / f"{name}.yaml").read_text(encoding="utf-8"))
    taught = recipe.get("teacher", {}).get("kind", "vgg16") != "none"
    first = next(iter(recipe["data"]["sources"]))
    # Data
    settings = [
        f"data.sources.{first}={{path: '{pictures}', use_labels: {'true' if taught else 'false'}}}",
        "data.validation={fraction: 0.25, samples: 8}",
        "data.min_colorfulness=0",
    ]
    for i, phase in enumerate(recipe["phases"]):
        settings += [f"phases.{i}.batches.{k}.weights={{{first}: 1}}" for k in range(len(phase["batches"]))]
    # Steps and batch sizes
    for i, phase in enumerate(recipe["phases"]):
        settings.append(f"phases.{i}.steps=2")
        settings += [f"phases.{i}.batches.{k}.batch_size=2" for k in range(len(phase["batches"]))]
    # Width
    if recipe.get("model", {}).get("architecture") == "chromagan":
        settings += ["model.width_multiplier=0.125", "model.critic_width_multiplier=0.125"]
    # Downloads
    if taught and recipe["teacher"]["kind"] != "lite":
        settings.append("teacher.kind=labels")
    for key in ("backbone_weights", "extractor_weights", "features_model"):
        if key in recipe:
            settings.append(f"{key}={random_weights(recipe[key], runs)}")
    if "efficientnet-lite" in (model := recipe.get("teacher", {}).get("model", "")):
        settings.append(f"teacher.model={random_weights(model, runs)}")
    if "init_from" in recipe and not Path(recipe["init_from"]).is_dir():  # the run of another recipe
        settings.append(f"init_from={runs / Path(recipe['init_from']).name}")
    return [*settings, "device=cpu", "threads=1", f"output={runs / name}", "log_every=1"]


def run(name: str, pictures: Path, runs: Path) -> Path:
    """The folder of a shipped recipe's run, and before it, if it goes on from that of another, the other's."""
    path = RECIPES[0].parent / f"{name}.yaml"
    before = Path(yaml.safe_load(path.read_text(encoding="utf-8")).get("init_from", ""))
    if before.parent.name == "runs":
        run(before.name, pictures, runs)
    with FileLock(runs / f"{name}.lock"):
        if not (runs / name / "model").is_dir():
            assert train.main([str(path), *overrides(name, pictures, runs)]) == 0
    return runs / name


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.stem for path in RECIPES])
def test_recipe_trains_and_its_model_colorizes(name, pictures, runs):
    if name in NEEDS_TIMM:
        pytest.importorskip(
            "timm", reason="timm is not installed: pip install 'chromagan[inception]'", exc_type=Exception
        )
    folder = run(name, pictures, runs)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    totals = [line["total"] for line in lines if "total" in line]
    recipe = yaml.safe_load((RECIPES[0].parent / f"{name}.yaml").read_text(encoding="utf-8"))
    assert len(totals) == 2 * len(recipe["phases"])
    assert np.isfinite(totals).all()
    picture = ChromaGANPipeline.from_pretrained(folder / "model")(str(pictures / "class0" / "00.png"))
    assert picture.size == (96, 80)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["labnet", "chromagan_lite"])
def test_a_recipe_resumes_where_it_was(name, pictures, runs, tmp_path):
    settings = [*overrides(name, pictures, runs), "ema_decay=0"]
    path = RECIPES[0].parent / f"{name}.yaml"
    phases = yaml.safe_load(path.read_text(encoding="utf-8"))["phases"]
    last = len(phases) - 1
    settings += [f"phases.{last}.{kind}_optimizer.schedule=constant" for kind in ("generator", "critic")]
    settings += [f"phases.{i}.batches.{k}.size=64" for i in range(last + 1) for k in range(len(phases[i]["batches"]))]
    if name == "chromagan_lite":  # narrower, and shallower
        weights = random_weights("efficientnet-lite0", runs)
        settings += ["model.trunk=lite0", "model.decoder_widths=[32, 32, 32, 32, 32]", f"backbone_weights={weights}"]
    assert train.main([str(path), *settings, f"phases.{last}.steps=4", f"output={tmp_path / 'whole'}"]) == 0
    for steps in (2, 4):
        parts = f"output={tmp_path / 'parts'}"
        assert train.main([str(path), *settings, parts, f"phases.{last}.steps={steps}"]) == 0
    for network in ("generator", "critic"):
        whole, parts = (
            load_file(list_checkpoints(tmp_path / run)[-1] / f"{network}.safetensors") for run in ("whole", "parts")
        )
        assert all(torch.equal(whole[key], parts[key]) for key in whole), network


@pytest.mark.slow
def test_steps_stay_on_the_networks_device(tmp_path):
    """As on a GPU, where a tensor left on the CPU ends the run: on a device that is only a name."""
    recipes = [path for path in RECIPES if path.stem not in NEEDS_TIMM]
    script = Path(__file__).with_name("other_device.py")
    result = subprocess.run([sys.executable, script, *recipes], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = result.stdout.splitlines()
    assert {line.split(",")[0] for line in lines} == {path.stem for path in recipes}
    assert all(line.endswith(": elsewhere:0") for line in lines), lines


@pytest.mark.slow
def test_models_of_all_families_are_measured_side_by_side(pictures, runs, tmp_path):
    names = [path.stem for path in RECIPES if path.stem not in NEEDS_TIMM]
    models = [str(run(name, pictures, runs) / "model") for name in names]
    command = ["--model", *models, "--data", str(pictures), "--split", "train", "--classifier", "none"]
    assert cli.main(["evaluate", *command, "--protocol", "stretch256", "--output", str(tmp_path)]) == 0
    table = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert table.index("grey (ab = 0)") < min(table.index(name) for name in names)
