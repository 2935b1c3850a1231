"""A run, or a model folder, becomes the complete folder of a model repository on the Hub.

At its root lie the generator in float16, the image processor and the code of both, which the Hub's loaders look for
there; beside them the critic, ONNX graphs, the evaluations, a sheet of examples, the recipe and the card. Everything
is made anew from weights and settings that were checked: nothing is copied because it happened to lie there.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open

from ..durable_files import flush, flush_tree
from ..errors import UserError, one_line
from ..image_saving import save_image
from ..modeling_chromagan import PICKLES, ChromaGANCritic
from ..pipeline_chromagan import ChromaGANPipeline
from ..sources.models import CONFIG, hash_weights, load_generator, load_image_processor
from ..training.run.checkpoint import MANIFEST, RECIPE, Manifest, describe, newest_valid
from ..training.run.release import half_weights, without_code
from .example_sheet import draw_examples
from .model_card import license_of, write_card

PACKAGE = Path(__file__).parents[1]
# What a release can consist of, and so what an upload replaces in a repository; other files there are left alone.
# A part of a path is matched at a time. ONNX graphs of more than two gigabytes have their weights in a second file.
LAYOUT = (
    *("README.md", "LICENSE", "NOTICE", "config.json", "preprocessor_config.json", "recipe.yaml", "examples.jpg"),
    *("model*.safetensors", "model.safetensors.index.json", "*.py"),
    *("critic/config.json", "critic/model*.safetensors", "critic/model.safetensors.index.json"),
    *("onnx/*.onnx", "onnx/*.onnx.data", "evaluation/*.json", "training/checkpoint-*/*"),
)
AUTO_MAP = {
    "AutoConfig": "configuration_chromagan.ChromaGANConfig",
    "AutoImageProcessor": "image_processing_chromagan.ChromaGANImageProcessor",
    "AutoModel": "modeling_chromagan.ChromaGANGenerator",
    "AutoModelForImageToImage": "modeling_chromagan.ChromaGANGenerator",
}
NO_EVALUATION = "accepted: results of `chromagan evaluate --model {model} -o {folder}`, there or by --evaluation"


class ReleaseError(UserError):
    """A run that is not published as it is; the message names the file, what was found and what is accepted."""


@dataclass(frozen=True)
class Trained:
    """What is to be published.

    Args:
        folder: as it was named.
        model: the `from_pretrained` folder in it.
        recipe: of the run, resolved, with the folders of its machine left out; `None` for a model folder.
        environment: what the run wrote about machine and versions.
        prose: Markdown that somebody wrote about it, README.md of the run or model folder.
    """

    folder: Path
    model: Path
    recipe: dict[str, Any] | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    prose: str = ""


def build_release(
    source: Path,
    target: Path,
    repo_id: str,
    evaluations: Sequence[Path] = (),
    examples: Path | None = None,
    training_checkpoint: bool = False,
    onnx: bool = True,
) -> None:
    """Builds the folder of a model repository; it is complete or not there.

    Args:
        source: a run folder or a model folder, which stay as they are.
        target: what is made; an earlier release in its place is replaced.
        repo_id: where it will be published, for the card.
        evaluations: folders or results.json files that `chromagan evaluate -o` wrote; none: `source`/evaluation.
        examples: folder of photographs that may be published, which the card shows before and after.
        training_checkpoint: whether the newest checkpoint of the run goes along, for others to train on.
        onnx: whether the ONNX graphs are made, which takes about a minute.

    Raises:
        UserError: naming the file and what is wrong: no model, weights that are not finite or do not fit in float16,
            pickles, files that belong to no model, no evaluation of these weights, a target that is something else.
    """
    if target.exists() and not (target / CONFIG).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise ReleaseError(f"{target} is there and no release; accepted: a new folder, or an earlier release")
    trained = read_trained(source)
    refuse_strays(trained.model)
    generator = load_generator(trained.model)
    results = read_evaluations(trained, evaluations, hash_weights(generator), repo_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
        folder = Path(work) / target.name
        folder.mkdir()
        has_critic = save_networks(trained, generator, folder)
        if examples is not None and examples.is_dir():
            save_image(draw_examples(trained.model, examples), folder / "examples.jpg")
        for name, result in results.items():
            write_json(folder / "evaluation" / f"{name}.json", result)
        if trained.recipe is not None:
            (folder / RECIPE).write_text(dump_yaml(trained.recipe), encoding="utf-8")
        if training_checkpoint:
            copy_checkpoint(trained, folder / "training")
        for name in ("LICENSE", "NOTICE"):
            shutil.copyfile(find_notice(name), folder / name)
        if onnx:
            export_graphs(trained.model, folder / "onnx", license_of(trained.prose))
        write_card(folder, repo_id, trained.recipe, trained.environment, trained.prose, results, has_critic)
        check_release(folder)
        flush_tree(folder)
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
        flush(target.parent)


def read_trained(source: Path) -> Trained:
    """Finds the model in a run or model folder, with what is known of its training."""
    if not source.is_dir():
        raise ReleaseError(f"{source}: there is no such folder; accepted: a run folder or a model folder")
    model = source / "model" if (source / "model").is_dir() else source
    if not (model / CONFIG).is_file():
        raise ReleaseError(f"{source}: holds no model, {CONFIG} is missing; accepted: a run folder or a model folder")
    recipe, environment = None, {}
    try:
        if (source / RECIPE).is_file():
            recipe = without_places(yaml.safe_load((source / RECIPE).read_text(encoding="utf-8")))
        if (source / "environment.json").is_file():
            environment = json.loads((source / "environment.json").read_text(encoding="utf-8"))
        readme = next((path for path in (source / "README.md", model / "README.md") if path.is_file()), None)
        prose = readme.read_text(encoding="utf-8") if readme else ""
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ReleaseError(f"{source}: recipe.yaml, environment.json or README.md: {one_line(error, 200)}") from error
    return Trained(source, model, recipe, environment, prose)


def without_places(value: Any) -> Any:
    """The same recipe with only the last part of every absolute path: where things lay is nobody's business."""
    if isinstance(value, dict):
        return {name: without_places(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_places(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).expanduser().is_absolute() else value


def refuse_strays(model: Path) -> None:
    """Refuses a model folder with files that no model has: they show that it is not what is meant to be published.

    Raises:
        ReleaseError: naming them, pickles before others.
    """
    for path in sorted(model.rglob("*"), key=lambda path: (path.suffix not in PICKLES, path)):
        name = path.relative_to(model)
        if path.is_dir() or "__pycache__" in name.parts or name.name == ".gitattributes":
            continue
        if path.suffix in PICKLES:
            raise ReleaseError(f"{path}: a pickle can run code when it is opened; accepted: safetensors files")
        in_layout = fits_layout(name) or (name.parts[0] == "critic" and name.suffix == ".py")
        if path.is_symlink() or not in_layout or (name.suffix == ".py" and not (PACKAGE / name.name).is_file()):
            raise ReleaseError(
                f"{path}: is no file of a model; accepted in {model}: what training or an earlier release wrote"
            )


def fits_layout(name: PurePosixPath | Path) -> bool:
    """Whether a path in a repository is one that a release can have."""
    patterns = (pattern.split("/") for pattern in LAYOUT)
    return any(len(parts) == len(name.parts) and all(map(fnmatchcase, name.parts, parts)) for parts in patterns)


def read_evaluations(
    trained: Trained, places: Iterable[Path], weights: str, repo_id: str
) -> dict[str, dict[str, Any]]:
    """Results of evaluations by a name of protocol and data; of their rows those of gray and of these weights.

    Raises:
        ReleaseError: if there are none, or one is of other weights.
    """
    files = []
    for place in places or [trained.folder / "evaluation"]:
        found = [place] if place.is_file() else sorted(place.rglob("*.json"))
        if not found:
            raise ReleaseError(
                f"{place}: holds no evaluation; {NO_EVALUATION.format(model=trained.model, folder=place)}"
            )
        files += found
    results = {}
    for file in files:
        result = read_results(file, weights, repo_id)
        name = f"{result['protocol']['name']}-{slug(result['data'])}"
        if name in results:
            raise ReleaseError(f"{file}: measures {name} a second time; accepted: one result of each")
        results[name] = result
    return results


def read_results(file: Path, weights: str, repo_id: str) -> dict[str, Any]:
    """One results.json as it is published: without this machine's paths and other models' rows."""
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        gray, *models = result["rows"]
        ours = [row | {"place": repo_id} for row in models if row.get("weights") == weights]
        measured = ", ".join(dict.fromkeys(str(row["place"]) for row in models))
        data = ", ".join(without_places(split_data(result["data"])))
        result = result | {"rows": [gray, *ours], "data": data, "broken": []}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ReleaseError(f"{file}: is no results.json of `chromagan evaluate` ({one_line(error, 100)})") from error
    if not ours:
        raise ReleaseError(f"{file}: measures other weights ({measured}); accepted: an evaluation of this model")
    return result


def split_data(data: str) -> list[str]:
    """`FOLDER, split NAME` in its two parts."""
    place, comma, split = data.rpartition(", split ")
    return [place, f"split {split}"] if comma else [data]


def slug(text: str) -> str:
    """A text as a part of a file name."""
    return "-".join("".join(char if char.isalnum() or char in "._" else " " for char in text.lower()).split())


def save_networks(trained: Trained, generator: Any, folder: Path) -> bool:
    """Writes generator, image processor, code and, if there is one, the critic, and returns whether there is.

    Batch norms stay what they are: folded into the convolutions they would save some of the time, which whoever
    only colorizes gets by `fold_batch_norms()`, and nobody could train on.
    """
    refuse_not_finite(trained.model)
    processor = load_image_processor(trained.model)
    generator.config.auto_map = None
    ChromaGANPipeline(generator, processor, device="cpu").save_pretrained(folder, state_dict=half_weights(generator))
    complete_config(folder / CONFIG, AUTO_MAP)
    critic = trained.model / "critic"
    if has_critic := critic.is_dir():
        refuse_not_finite(critic)
        with without_code():  # it would be read from the root all the same
            model = ChromaGANCritic.from_pretrained(critic, dtype=torch.float32)
            model.save_pretrained(folder / "critic", state_dict=half_weights(model))
        complete_config(folder / "critic" / CONFIG, {"AutoModel": "modeling_chromagan.ChromaGANCritic"})
    for part in (folder, folder / "critic"):
        refuse_not_finite(part, "in float16, whose largest number is 65,504")
    return has_critic


def complete_config(path: Path, auto_map: dict[str, str]) -> None:
    """Has a config name the classes of all auto classes: saving records one class for each class of ours."""
    config = json.loads(path.read_text(encoding="utf-8"))
    own = AUTO_MAP["AutoConfig"]
    write_json(path, config | {"auto_map": {"AutoConfig": own, **auto_map}})


def refuse_not_finite(folder: Path, how: str = "") -> None:
    """Reads every number of a folder's safetensors files.

    Raises:
        ReleaseError: naming the first tensor that holds a NaN or an infinity, or the file that cannot be read.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    if not torch.isfinite(file.get_tensor(name)).all():
                        raise ReleaseError(
                            f"{path.parent.name}/{path.name}: {name} is not finite{f' {how}' if how else ''}; "
                            "accepted: weights of a training that went well"
                        )
        except (OSError, SafetensorError) as error:
            raise ReleaseError(f"{path}: cannot be read: {one_line(error, 200)}") from error


def copy_checkpoint(trained: Trained, folder: Path) -> None:
    """Copies the newest undamaged checkpoint, its recipe without the folders of this machine.

    Raises:
        ReleaseError: if there is none, or its networks are not finite.
    """
    checkpoint, _ = newest_valid(trained.folder)
    if checkpoint is None:
        raise ReleaseError(f"--training-checkpoint: {trained.folder} holds no checkpoint; accepted: a run folder")
    refuse_not_finite(checkpoint)
    target = folder / checkpoint.name
    shutil.copytree(checkpoint, target)
    recipe = yaml.safe_load((target / RECIPE).read_text(encoding="utf-8"))
    (target / RECIPE).write_text(dump_yaml(without_places(recipe)), encoding="utf-8")
    manifest = Manifest.model_validate_json((target / MANIFEST).read_bytes())
    manifest.files[RECIPE] = describe(target / RECIPE)
    (target / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def find_notice(name: str) -> Path:
    """LICENSE or NOTICE, of the checkout or of the installed package."""
    places = [PACKAGE.parent / name, *PACKAGE.parent.glob(f"chromagan-*.dist-info/licenses/{name}")]
    for place in places:
        if place.is_file():
            return place
    raise ReleaseError(f"{name} is missing beside the package; accepted: a checkout, or the package installed anew")


def export_graphs(model: Path, folder: Path, license: str) -> None:
    """Makes the ONNX graphs in float32 and float16, which say their license."""
    from . import onnx_export  # its packages are an extra

    onnx_export.export_graphs(model, folder, metadata={"license": license})


def check_release(folder: Path) -> None:
    """Refuses a built folder with anything in it that a release does not have; it would be an error of ours."""
    for path in list_files(folder):
        if not fits_layout(path) or path.suffix in PICKLES:
            raise ReleaseError(f"{path}: was built and belongs to no release; accepted: {', '.join(LAYOUT)}")


def list_files(folder: Path) -> list[PurePosixPath]:
    """All files of a folder, by their paths in it, in a fixed order."""
    return sorted(PurePosixPath(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file())


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def dump_yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=119)


__all__ = ["LAYOUT", "ReleaseError", "build_release", "fits_layout", "list_files"]
