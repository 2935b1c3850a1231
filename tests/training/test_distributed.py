"""Two processes do what one does with the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from PIL import Image
from safetensors.torch import load_file

DEBUG = ROOT / "recipes" / "debug.yaml"
STEPS = 8
WARM_UP = 30  # steps in one process, after which Adam divides by more than the first gradients


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(40):
        place = folder / f"class{i % 4}"
        place.mkdir(exist_ok=True)
        colors = np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(colors).resize((96, 80), Image.Resampling.BICUBIC)
        if i in (5, 18, 31):  # passed over
            picture = picture.convert("L").convert("RGB")
        picture.save(place / f"{i:02}.png")
    return folder


def settings(pictures: Path, output: Path, steps: int) -> list[str]:
    """An adversarial phase in float32 on drawn pictures, in small batches of two sizes, with classes from labels."""
    source = f"{{path: '{pictures}', use_labels: true, min_crop: 0.8}}"
    batches = [
        {
            "size": size,
            "batch_size": count,
            "weights": {"pictures": 1},
            "degradation": {"gamma": 0.5, "grain": 0.5},
        }
        for size, count in ((32, 8), (48, 4))
    ]
    phases = yaml.safe_load(DEBUG.read_text(encoding="utf-8"))["phases"]
    for phase, count in zip(phases, (1, steps), strict=True):
        phase |= {"steps": count, "batches": batches}
        phase["objective"]["weights"] |= {"color": 100, "class": 0.1}
        phase["objective"]["chroma_emphasis"] = 50
    phases[1]["objective"] |= {"critic_warmup_steps": 2, "reuse_forward": True}
    phases[1]["generator_optimizer"] |= {"warmup_steps": 2, "schedule": "constant"}
    return [
        str(DEBUG),
        "model.width_multiplier=0.25",
        "model.num_labels=4",
        "teacher={kind: labels}",
        f"data.sources={{pictures: {source}}}",
        "data.validation={fraction: 0.1, samples: 4}",
        f"phases={json.dumps(phases)}",
        "precision=float32",
        "device=cpu",
        "threads=1",
        "log_every=1",
        "checkpoint_every=1000",
        f"output={output}",
    ]


def train(folder: Path, processes: int, *trainings: dict) -> None:
    """Trainings one after the other, in processes that are started once: imports take longer than steps."""
    file = folder / f"{processes}.json"
    file.write_text(json.dumps(trainings), encoding="utf-8")
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command += [str(ROOT / "tests" / "training" / "two_processes.py"), str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"{processes} process(es) on cpu") == len(trainings)


def losses_after(folder: Path, step: int) -> dict[tuple[int, str], float]:
    names = ("total", "color", "class", "adversarial", "adversarial_weight", "critic", "critic_gap", "penalty")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        (line["step"], name): line[name] for line in lines for name in names if name in line and line["step"] > step
    }


def worst(ours: dict, theirs: dict) -> float:
    """The largest difference of a named loss, relative to the larger of one and itself."""
    assert ours.keys() == theirs.keys()
    return max(abs(ours[key] - theirs[key]) / max(1.0, abs(theirs[key])) for key in theirs)


def gradient_difference(ours: Path, theirs: Path) -> float:
    ours, theirs = load_file(ours), load_file(theirs)
    assert ours.keys() == theirs.keys()
    worst = 0.0
    for network in ("generator.", "critic."):
        keys = [key for key in theirs if key.startswith(network)]
        difference = sum((ours[key] - theirs[key]).double().square().sum() for key in keys).sqrt()
        worst = max(worst, float(difference / sum(theirs[key].double().square().sum() for key in keys).sqrt()))
    return worst


@pytest.mark.slow
def test_two_processes_do_what_one_does_and_plain_batch_norm_does_not(pictures, tmp_path):
    """To 1e-5 where rounding is out of the way; in float32 more closely than plain batch norm ever does.

    In float32 two orders of summation turn about one ReLU in a million the other way, which moves the gradient by the
    square root of that; how many, depends on the instructions of the machine.
    """
    start = tmp_path / "start"

    def training(name: str, precision: str = "float32", plain: bool = False) -> dict:
        arguments = [*settings(pictures, tmp_path / name, WARM_UP + STEPS), "--resume", str(start)]
        gradients = str(tmp_path / f"{name}.safetensors")
        return {"gradients": gradients, "arguments": arguments, "plain": plain, "float64": precision == "float64"}

    first = training("start") | {"arguments": settings(pictures, start, WARM_UP)}
    train(tmp_path, 1, first, training("one"), training("one64", "float64"))
    train(tmp_path, 2, training("two"), training("two64", "float64"), training("plain64", "float64", plain=True))
    resumed = {
        name: losses_after(tmp_path / name, WARM_UP + 1) for name in ("one64", "two64", "plain64", "one", "two")
    }
    assert len({step for step, _ in resumed["one"]}) == STEPS

    def gradients(ours, theirs):
        return gradient_difference(tmp_path / f"{ours}.safetensors", tmp_path / f"{theirs}.safetensors")

    reports = [json.loads((tmp_path / name / "data_report.json").read_text()) for name in ("one64", "two64")]
    assert reports[0] == reports[1]
    assert reports[0]["rejected"]["pictures"]["grayscale"] > 2

    assert gradients("two64", "one64") < 1e-5
    assert worst(resumed["two64"], resumed["one64"]) < 1e-5
    assert gradients("plain64", "one64") > 0.5
    assert worst(resumed["plain64"], resumed["one64"]) > 1e-3
    assert gradients("two", "one") < 0.2
    first = [{key: loss for key, loss in resumed[name].items() if key[0] == WARM_UP + 2} for name in ("two", "one")]
    assert len(first[0]) > 3
    assert worst(*first) < 1e-5  # later ones grow apart, as those of every game of two networks do
