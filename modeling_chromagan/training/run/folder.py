"""What a run leaves behind, so that the folder explains itself: recipe, versions, data, models, pictures, curves."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers.utils import IMAGE_PROCESSOR_NAME

from ...durable_files import replacing_folder, write_text
from ...image_processing_chromagan import ChromaGANImageProcessor
from ...image_saving import save_image
from ...modeling_chromagan import ChromaGANCritic, ChromaGANGenerator
from ...pipeline_chromagan import ChromaGANPipeline
from ..objectives import TERMS
from .log import RunLog

PACKAGES = ("chromagan", "torch", "transformers", "accelerate", "datasets", "safetensors", "numpy", "pillow")
CURVES = {  # title: figures of the log, drawn where a run has them
    "loss of the generator": ("total", *TERMS),
    "critic": ("critic", "critic_gap", "penalty"),
    "PSNR over gray (dB)": ("validation_gain_psnr_mean",),
    "share of the data's color": ("validation_colorfulness_ratio", "chroma_ratio"),
    "gradient norms": ("generator_gradient_norm", "critic_gradient_norm"),
    "pictures per second": ("pictures_per_second",),
}


class RunFolder:
    """The folder of one run. Only the main process writes; every file is complete or not there.

    Args:
        path: made when it is first needed.
        start: run or model folder that the training starts from, whose settings of the image processor are kept.
    """

    def __init__(self, path: Path, start: Path | None = None):
        self.path = path
        places = [start / "model", start] if start else []
        self.start = next((place for place in places if (place / IMAGE_PROCESSOR_NAME).is_file()), None)
        self.log = RunLog(path / "log.jsonl")

    def open(self, recipe: str, step: int) -> None:
        """Writes what the run is, and forgets what the log says of steps after `step`, where it goes on from."""
        self.path.mkdir(parents=True, exist_ok=True)
        for leftover in (self.path / "samples").glob(".*"):  # of a kill inside a save
            leftover.unlink()
        write_text(self.path / "recipe.yaml", recipe)
        write_text(self.path / "environment.json", json.dumps(environment(), indent=2))
        self.log.truncate(step)

    def save_data_report(self, report: dict) -> None:
        """Pictures passed over, by source and reason, and connections that had to be tried again, by source."""
        write_text(self.path / "data_report.json", json.dumps(report, indent=2))

    def save_model(self, name: str, generator: ChromaGANGenerator, critic: ChromaGANCritic) -> None:
        """Generator, image processor and their code as a `from_pretrained` folder, the critic in its `critic`."""
        encoding = generator.config.encoding
        if self.start is None:
            processor = ChromaGANImageProcessor(encoding=encoding)
        else:
            processor = ChromaGANImageProcessor.from_pretrained(self.start, encoding=encoding)
        with replacing_folder(self.path / name) as partial:
            ChromaGANPipeline(generator, processor).save_pretrained(partial)
            critic.save_pretrained(partial / "critic")

    def save_grid(self, step: int, grid: Image.Image) -> None:
        """A sheet of validation pictures."""
        save_image(grid, self.path / "samples" / f"{step:08d}.png")

    def draw_curves(self) -> None:
        """The log as curves.png."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # without pyplot: no display, no global state
        from matplotlib.figure import Figure

        lines = self.log.read()
        present = {
            title: [name for name in names if any(name in line for line in lines)] for title, names in CURVES.items()
        }
        present = {title: names for title, names in present.items() if names}
        if not present:
            return
        figure = Figure(figsize=(10, 2.2 * len(present)), dpi=100, layout="constrained")
        axes = figure.subplots(len(present), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (title, names) in zip(axes, present.items(), strict=True):
            for name in names:
                points = [(line["step"], line[name]) for line in lines if name in line]
                axis.plot(*zip(*points, strict=True), label=name, linewidth=1)
            axis.set_title(title, fontsize=9)
            axis.legend(fontsize=7)
        axes[-1].set_xlabel("step")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        save_image(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"), self.path / "curves.png")


def environment() -> dict:
    """Versions, machine, and the commit of the code where it is a checkout."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # the package itself, run from a checkout
            versions[name] = None
    return {
        "python": platform.python_version(),
        "packages": versions,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "commit": commit_of(Path(__file__).parent),
    }


def commit_of(folder: Path) -> str | None:
    """The git commit that `folder` is checked out from, "+" behind it if files were changed; `None` if it is none."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


__all__ = ["RunFolder"]
