"""Small models, photographs and data sets for tests that evaluate."""

from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image

from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator, ChromaGANImageProcessor, cli
from modeling_chromagan.color import encode_ab
from modeling_chromagan.modeling_chromagan import ColorizationOutput

CLASS_NAMES = ["n01443537", "n01629819", "n01641577"]  # goldfish, salamander, bullfrog: 1, 25 and 30 in ImageNet-1k


def tiny_config(**options) -> ChromaGANConfig:
    return ChromaGANConfig(
        **{
            "architecture": "chromagan",
            "image_size": 32,
            "width_multiplier": 1 / 64,
            "global_hidden_sizes": [4],
            "class_hidden_sizes": [4],
            "trunk_batch_norm": True,
            "id2label": dict(enumerate(CLASS_NAMES)),
            **options,
        }
    )


def photograph(seed: int, size: int = 64) -> Image.Image:
    """A smooth picture of several colors."""
    colors = np.random.default_rng(seed).integers(20, 235, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(colors).resize((size, size), Image.Resampling.BILINEAR)


def write_data(folder: Path, pictures: list, labels: list[int] | None = None) -> Path:
    """A data set of one split `valid` in the layout of the Hub's parquet copies."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASS_NAMES)})
    labels = [index % 3 for index in range(len(pictures))] if labels is None else labels
    (folder / "data").mkdir(parents=True)
    rows = datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=features)
    rows.to_parquet(folder / "data" / "valid-00000-of-00001.parquet")
    return folder


def as_batch(pictures: list[Image.Image], **columns) -> dict[str, torch.Tensor]:
    rgb = torch.stack([torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1) for picture in pictures])
    return {"rgb": rgb, **columns}


class PromptedGenerator(ChromaGANGenerator):
    """Answers with the chroma and logits it was given, whatever it sees."""

    def prompt(self, ab: torch.Tensor, logits: torch.Tensor | None = None) -> "PromptedGenerator":
        self.ab, self.logits = ab, logits
        return self

    def forward(self, pixel_values):
        return ColorizationOutput(reconstruction=encode_ab(self.ab, self.config.encoding), logits=self.logits)


def evaluate_data(capsys, *arguments) -> str:
    """What the command prints; without a classifier, which takes its time, unless one is named."""
    capsys.readouterr()
    assert cli.main(["evaluate", "--classifier", "none", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused_evaluation(capsys, *arguments) -> str:
    """The one line that the command writes when it cannot go on."""
    capsys.readouterr()  # forgets the progress bars of writing the data
    assert cli.main(["evaluate", "--classifier", "none", *map(str, arguments)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("skipped: ")]
    assert len(lines) == 1
    return lines[0]


def save_model(folder: Path) -> Path:
    """Saves a generator with random weights and its image processor."""
    torch.manual_seed(0)
    ChromaGANGenerator(tiny_config(encoding="symmetric")).save_pretrained(folder)
    ChromaGANImageProcessor(encoding="symmetric", size=48).save_pretrained(folder)
    return folder
