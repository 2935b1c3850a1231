"""Trains every recipe from scratch under one equal budget and measures them side by side.

    python benchmarks/compare_recipes.py [--output FOLDER] [--rows NAME ...] [--native FOLDER ...] [--show FOLDER ...]

    # Two rows side by side, one core each:
    python benchmarks/compare_recipes.py --train-only --threads 1 --rows basic labnet resnet_unet &
    python benchmarks/compare_recipes.py --train-only --threads 1 --rows pix2pix_unet chromagan preincep preres
    wait; python benchmarks/compare_recipes.py --threads 1 --native FOLDER --show examples

What is trained stands in compare_recipes.yaml. For every row the learning rate is the best of those tried by PSNR on
the fixed validation pictures; all phases have AdamW with 5 % warm-up and a cosine to zero. It can be stopped at any
time and goes on where it was when called again; what was measured is not measured again. Tiny ImageNet comes from the
Hub, or from $CHROMAGAN_DATA.

Writes tables.md, and for every protocol a folder with figures, tables and sheets of pictures. The rows with Inception
features need timm; CHROMAGAN_TORCHVISION_SCHEMAS=1 lets it run beside a CPU-only torch (tests/torchvision_schemas.py).
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
BESIDE_CPU_TORCH = os.environ.get("CHROMAGAN_TORCHVISION_SCHEMAS") == "1"
if BESIDE_CPU_TORCH:
    from torchvision_schemas import declare_torchvision_operators

    declare_torchvision_operators()

from modeling_chromagan import ChromaGANConfig, ChromaGANPipeline
from modeling_chromagan.architectures import fields_read
from modeling_chromagan.durable_files import write_text
from modeling_chromagan.evaluation.colorizers import from_picture
from modeling_chromagan.evaluation.contact_sheet import captioned_sheet, thumbnail
from modeling_chromagan.image_loading import load_color
from modeling_chromagan.image_saving import save_image
from modeling_chromagan.picture_formats import PICTURE_SUFFIXES

PLAN = Path(__file__).with_suffix(".yaml")
VALIDATION_MEASURE = "validation_psnr_mean"
PYTHON = [sys.executable]
if BESIDE_CPU_TORCH:
    PYTHON.append(str(ROOT / "tests" / "torchvision_schemas.py"))
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "scikit-image")
FIGURES = {  # of the short tables: key of the figure, heading, decimals
    "psnr_mean": ("PSNR (dB)", 2),
    "ssim": ("SSIM", 4),
    "ciede2000": ("CIEDE2000", 2),
    "colorfulness_ratio": ("colorfulness ratio", 3),
    "rebalanced_auc": ("rebalanced AuC (%)", 2),
    "auc": ("AuC (%)", 2),
    "top1": ("top-1 (%)", 1),
    "own_loss": ("own validation loss*", 5),
}


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def stage_settings(plan: dict, stage: dict, pictures: int, rate: float | None, init_from: Path | None) -> list[str]:
    """The `key=value` settings that bring a shipped recipe under the common budget."""
    recipe = yaml.safe_load((ROOT / "recipes" / f"{stage['recipe']}.yaml").read_text(encoding="utf-8"))
    settings = dict(plan["settings"])
    names = {name: recipe["model"].get(name, getattr(ChromaGANConfig, name)) for name in ("architecture", "critic")}
    read = fields_read(**names)
    settings |= {f"model.{key}": value for key, value in plan["small_model"].items() if key in read}
    settings |= {"init_from": str(init_from) if init_from else None}
    settings.pop("backbone_weights", None)
    for key in ("backbone_weights", "extractor_weights"):
        if key in recipe:
            settings[key] = None
    weights = dict.fromkeys(plan["settings"]["data"]["sources"], 1)
    phases = stage.get("phases", recipe["phases"])
    if "phases" in stage:
        settings["phases"] = phases
    for number, (phase, share) in enumerate(zip(phases, stage["shares"], strict=True)):
        batch_size = plan["batch_size"] if rate else phase["batches"][0]["batch_size"]
        steps = max(1, round(pictures * share / batch_size))
        settings[f"phases.{number}.steps"] = steps
        batches = [{"size": plan["size"], "batch_size": batch_size, "weights": weights}]
        settings[f"phases.{number}.batches"] = batches
        if rate:
            optimizer = {
                "name": "adamw",
                "learning_rate": rate,
                "weight_decay": 0.01,
                "warmup_steps": max(1, steps // 20),
                "schedule": "cosine",
                "clip_norm": 5.0,
            }
            settings[f"phases.{number}.generator_optimizer"] = optimizer | {"betas": [0.9, 0.99]}
            settings[f"phases.{number}.critic_optimizer"] = optimizer | {"betas": [0.5, 0.9]}
    settings |= stage.get("set", {})
    return [
        f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()}"
        for key, value in settings.items()
    ]


def train(plan: dict, stage: dict, pictures: int, rate: float | None, folder: Path, init_from: Path | None) -> dict:
    """Runs one stage to its end, or finds that it was, and returns its last validation figures and its minutes."""
    done = folder / "done.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    started = time.monotonic()
    settings = [s.removesuffix("\n...") for s in stage_settings(plan, stage, pictures, rate, init_from)]
    command = [*PYTHON, str(ROOT / "train.py"), str(ROOT / "recipes" / f"{stage['recipe']}.yaml")]
    print(
        f"{folder.name}: {stage['recipe']}, {pictures:,} pictures" + (f", rate {rate:g}" if rate else ""), flush=True
    )
    subprocess.run([*command, f"output={folder}", *settings], check=True, cwd=ROOT)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    figures = next(line for line in reversed(lines) if VALIDATION_MEASURE in line)
    # The usual rate, not the clock: a stage can have been interrupted or paused. Every phase has its own.
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    seconds = 0.0
    for phase in recipe["phases"]:
        of_phase = [line for line in lines if line["phase"] == phase["name"]]
        rates = [line["pictures_per_second"] for line in of_phase if "pictures_per_second" in line]
        seconds += phase["steps"] * phase["batches"][0]["batch_size"] / statistics.median(rates)
    result = {
        "psnr": figures[VALIDATION_MEASURE],
        "pictures": pictures,
        "minutes": seconds / 60,
        "wall_minutes": (time.monotonic() - started) / 60,
        "rate": rate,
    }
    write_text(done, json.dumps(result, indent=2))
    return result


def train_row(plan: dict, row: dict, output: Path) -> dict:
    """All stages of a row, each with the best of the rates tried; the next stage starts from the one before."""
    folder, work = output / slug(row["name"]), output / "work" / slug(row["name"])
    pictures = row.get("pictures", plan["pictures"])
    init_from, stages = None, []
    for number, stage in enumerate(row["stages"]):
        share = sum(stage["shares"])
        rate = None
        if not row.get("published_optimizer"):
            tried = {
                rate: train(plan, stage, plan["search_pictures"], rate, work / f"search-{number}-{rate:g}", init_from)
                for rate in plan["learning_rates"]
            }
            rate = max(tried, key=lambda rate: tried[rate]["psnr"])
        target = folder / f"stage-{number}"
        if rate and round(pictures * share) == plan["search_pictures"]:  # the best run of the search is the run
            target = work / f"search-{number}-{rate:g}"
        stages.append(train(plan, stage, round(pictures * share), rate, target, init_from))
        init_from = target
    model = folder / "model"  # the folder's name is the row's in the tables of the evaluation
    model.unlink(missing_ok=True)
    model.parent.mkdir(parents=True, exist_ok=True)
    model.symlink_to((target / "model").resolve(), target_is_directory=True)
    return {
        "name": row["name"],
        "model": str(model),
        "pictures": pictures,
        "rates": [stage["rate"] for stage in stages],
        "minutes": sum(stage["minutes"] for stage in stages),
    }


def evaluate(rows: list[dict], protocol: str, data: str, samples: int | None, output: Path) -> dict:
    """One table over all rows, by the package's own command; what it writes as results.json.

    A measurement that was made of the same models is not made again.
    """
    command = [*PYTHON, "-m", "modeling_chromagan.cli", "evaluate", "--protocol", protocol]
    command += ["--model", *(row["model"] for row in rows), "--data", data, "--output", str(output)]
    command += ["--samples", str(samples)] if samples else []
    done, asked = output / "done.json", {"command": command, "models": [newest_change(row["model"]) for row in rows]}
    if not done.is_file() or json.loads(done.read_text(encoding="utf-8")) != asked:
        subprocess.run(command, check=True, cwd=ROOT)
        write_text(done, json.dumps(asked, indent=2))
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


def newest_change(folder: str) -> float:
    return max(path.stat().st_mtime for path in Path(folder).iterdir())


def colored_sheet(rows: list[dict], folder: Path) -> Image.Image:
    """What every row makes of photographs that have no colors to compare with, a line for each row."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)

    def shrunk(picture: Image.Image) -> Image.Image:
        return thumbnail(from_picture(picture)[0])

    lines = [("as scanned", [("", [shrunk(load_color(file)) for file in files])])]
    for row in rows:
        pipeline = ChromaGANPipeline.from_pretrained(row["model"])
        lines.append((row["name"], [("", [shrunk(pipeline(str(file))) for file in files])]))
    return captioned_sheet(folder.name, [file.stem for file in files], lines)


def table(rows: list[dict], results: dict, below: set[str]) -> list[str]:
    """A Markdown table of one evaluation, grey first, the rows of the smaller budget below a line."""
    heading = ["", "pictures", "minutes", "learning rates", *(title for title, _ in FIGURES.values())]
    lines = [f"| {' | '.join(heading)} |", "|---|" + "---:|" * (len(heading) - 1)]
    described = [{"name": results["rows"][0]["name"], "pictures": None}, *rows]
    for row, measured in zip(described, results["rows"], strict=True):
        cells = [row["name"], "-", "-", "-"]
        if row["pictures"]:
            rates = ", ".join(f"{rate:g}" if rate else "as published" for rate in row["rates"])
            cells = [row["name"], f"{row['pictures']:,}", f"{row['minutes']:.0f}", rates]
        first_below = row["name"] in below and not any("*below" in line for line in lines)
        if first_below and not all(other["name"] in below for other in rows):
            lines.append(f"| *below: a smaller budget* |{' |' * (len(heading) - 1)}")
        for name, (_, decimals) in FIGURES.items():
            value = measured["figures"].get(name)
            cells.append("-" if value is None else f"{value:.{decimals}f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def processor() -> str:
    """What the machine calls its processor, as far as the system says."""
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # another system than Linux
        return platform.processor() or platform.machine()
    names = re.search(r"model name\s*: (.+)", described)
    return names[1].strip() if names else platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "compare")
    parser.add_argument("--rows", nargs="+", help="only rows whose name starts with one of these")
    parser.add_argument("--native", nargs="+", default=[], help="folders of photographs to measure at full size too")
    parser.add_argument(
        "--show", nargs="+", default=[], help="folders of gray photographs to draw, --native for color"
    )
    parser.add_argument("--threads", type=int, help="of torch while training (default: as train.py chooses)")
    parser.add_argument("--train-only", action="store_true", help="measure nothing yet")
    options = parser.parse_args()
    plan = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    plan["settings"]["threads"] = options.threads
    wanted = plan["rows"] + plan["below_the_line"]
    if options.rows:
        wanted = [row for row in wanted if any(row["name"].startswith(name) for name in options.rows)]
    trained = [train_row(plan, row, options.output) for row in wanted]
    if options.train_only:
        return 0
    root = os.environ.get("CHROMAGAN_DATA", "")
    local = Path(root) / "tiny-imagenet"
    data = str(local) if root and local.is_dir() else "zh-plus/tiny-imagenet"
    below = {row["name"] for row in plan["below_the_line"]}
    groups = {  # what is measured together: protocol, pictures, how many, rows
        "tiny64": ("tiny64", data, None, [row for row in trained if row["name"] not in below]),
        "tiny64-below": ("tiny64", data, plan["below_samples"], [row for row in trained if row["name"] in below]),
    }
    groups |= {f"native-{Path(folder).name}": ("native", folder, None, trained) for folder in options.native}
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    lines = [f"{date.today()}, {os.cpu_count()} cores of {processor()}, {versions}"]
    for name, (protocol, pictures, samples, rows) in groups.items():
        if rows:
            results = evaluate(rows, protocol, pictures, samples, options.output / name)
            count = f"{results['counts']['measured']:,} pictures"
            lines += ["", f"`{protocol}`, {Path(pictures).name}, {count}:", "", *table(rows, results, below)]
    for folder in map(Path, options.show):
        save_image(colored_sheet(trained, folder), options.output / f"{folder.name}.png")
    lines += ["", "* mean squared error of what the network gives; not comparable between losses or color spaces"]
    write_text(options.output / "tables.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
