"""Training state on disk: complete, checked and durable, or not there; nothing in it is a pickle.

A checkpoint is a folder `checkpoint-STEP` with the networks, their average and the optimizers' states (safetensors),
the position (JSON), the recipe (YAML), and last a manifest with the size and SHA-256 of every file. It is written
under another name, flushed to the disk and renamed; older ones go only afterwards.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ...durable_files import replacing_folder
from ...errors import SettingError, UserError, one_line

CHECKPOINT_NAME = re.compile(r"checkpoint-(\d{8})")
MANIFEST = "manifest.json"
OPTIMIZERS = "optimizers.safetensors"
POSITION = "position.json"
RECIPE = "recipe.yaml"
ADAM_STATE = {"step", "exp_avg", "exp_avg_sq"}  # of each parameter that was trained


class CheckpointError(UserError, ValueError):
    """A checkpoint that is damaged, or belongs to other networks; the message is one line naming folder and file."""

    exit_code = 2


class Position(BaseModel):
    """Where a run stands, with the counts that a resumed run goes on counting from."""

    model_config = ConfigDict(strict=True, extra="forbid")

    step: NonNegativeInt  # over all phases
    phase: NonNegativeInt  # whose optimizers' states are saved
    rejected: dict[str, dict[str, NonNegativeInt]] = {}  # pictures passed over, by source and flaw
    skipped: dict[str, NonNegativeInt] = {}  # steps that were not made, by network


class FileEntry(BaseModel):
    bytes: int
    sha256: str


class Manifest(BaseModel):
    step: int
    files: dict[str, FileEntry]


def checkpoint_name(step: int) -> str:
    return f"checkpoint-{step:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, oldest first, damaged ones included."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if CHECKPOINT_NAME.fullmatch(path.name))


def what_stands(folder: Path) -> str:
    """The newest checkpoint of a run folder by name, for a line that says why the run ended."""
    try:
        checkpoints = list_checkpoints(folder)
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}"
    return f"{checkpoints[-1].name} stands" if checkpoints else "there is no checkpoint"


def save_checkpoint(
    folder: Path,
    position: Position,
    networks: dict[str, nn.Module],
    states: dict[str, dict],
    keep: int,
    recipe: str = "",
) -> Path:
    """Writes everything a run needs to continue into `folder`/checkpoint-STEP, then drops all but the newest `keep`.

    Args:
        folder: of the run; made if it is missing.
        position: to come back to.
        networks: modules by name; their tensors become safetensors files.
        states: state dictionaries of optimizers by name.
        keep: how many to keep, at least two where that many were written.
        recipe: the resolved recipe as YAML.

    Raises:
        OSError: if the disk is full or fails; what was there before is then still there.
    """
    target = folder / checkpoint_name(position.step)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".partial-checkpoint-*"):  # of a kill inside a save
        shutil.rmtree(leftover, ignore_errors=True)
    with replacing_folder(target) as partial:  # there is one if the run went on from an older step
        write_files(partial, position, networks, states, recipe)
    for old in list_checkpoints(folder)[: -max(keep, 2)]:
        shutil.rmtree(old)
    return target


def write_files(
    folder: Path, position: Position, networks: dict[str, nn.Module], states: dict[str, dict], recipe: str
) -> None:
    """Fills an empty folder with a checkpoint's files, the manifest last."""
    for name, network in networks.items():
        write_tensors(folder / f"{name}.safetensors", network.state_dict())
    write_states(folder / OPTIMIZERS, states)
    (folder / POSITION).write_text(position.model_dump_json(), encoding="utf-8")
    (folder / RECIPE).write_text(recipe, encoding="utf-8")
    manifest = Manifest(step=position.step, files={path.name: describe(path) for path in sorted(folder.iterdir())})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(f"{path}: {error}") from error


def write_states(path: Path, states: dict[str, dict]) -> None:
    """Writes the tensors of optimizers' states by optimizer, parameter and name, and the parameters of the groups."""
    tensors = {
        f"{name}.{number}.{part}": value
        for name, state in states.items()
        for number, values in state["state"].items()
        for part, value in values.items()
        if isinstance(value, torch.Tensor)
    }
    groups = {name: [group["params"] for group in state["param_groups"]] for name, state in states.items()}
    write_tensors(path, tensors, {"groups": json.dumps(groups)})


def read_states(path: Path) -> dict[str, dict]:
    """What `write_states` wrote, as optimizers give it."""
    with safe_open(path, framework="pt") as file:
        groups = json.loads(file.metadata()["groups"])
        states: dict[str, dict] = {
            name: {"state": {}, "param_groups": [{"params": numbers} for numbers in of_name]}
            for name, of_name in groups.items()
        }
        for key in file.keys():  # noqa: SIM118
            name, number, part = key.rsplit(".", 2)
            states[name]["state"].setdefault(int(number), {})[part] = file.get_tensor(key)
    return states


def describe(path: Path) -> FileEntry:
    with open(path, "rb") as file:
        return FileEntry(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def check(checkpoint: Path) -> None:
    """Compares every file with the manifest, and the manifest with the folder's name.

    Raises:
        CheckpointError: naming the first file that is missing or differs.
    """
    try:
        manifest = Manifest.model_validate_json((checkpoint / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: {MANIFEST} is missing or unreadable") from error
    if checkpoint_name(manifest.step) != checkpoint.name:
        raise CheckpointError(f"{checkpoint}: {MANIFEST} is of step {manifest.step}")
    for name in (OPTIMIZERS, POSITION):
        if name not in manifest.files:
            raise CheckpointError(f"{checkpoint}: {MANIFEST} does not list {name}")
    for name, written in manifest.files.items():
        path = checkpoint / name
        if Path(name).name != name:
            raise CheckpointError(f"{checkpoint}: {MANIFEST} lists {name!r}; accepted: files beside it")
        try:
            if not path.is_file():
                raise CheckpointError(f"{checkpoint}: {name} is missing")
            found = describe(path)
        except OSError as error:
            raise CheckpointError(f"{checkpoint}: {name} cannot be read: {error.strerror}") from error
        if found.bytes != written.bytes:
            raise CheckpointError(f"{checkpoint}: {name} has {found.bytes:,} bytes; written were {written.bytes:,}")
        if found != written:
            raise CheckpointError(f"{checkpoint}: {name} is not what was written, its checksum differs")


def newest_valid(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest undamaged checkpoint of a run folder, and one line for every damaged one that is newer.

    Raises:
        CheckpointError: if there are checkpoints and all of them are damaged: a run never starts over in silence.
    """
    damaged = []
    for checkpoint in reversed(list_checkpoints(folder)):
        try:
            check(checkpoint)
        except CheckpointError as error:
            damaged.append(str(error))
        else:
            return checkpoint, damaged
    if damaged:
        raise CheckpointError("; ".join(damaged))
    return None, []


def find_checkpoint(folder: Path, resume: str) -> tuple[Path | None, list[str]]:
    """The checkpoint that a run goes on from, `None` for a fresh start, and lines about newer ones that are damaged.

    Args:
        folder: of the run, whose own checkpoints come first.
        resume: `"auto"`, `"none"`, or the folder or Hub id of another run's training state.

    Raises:
        SettingError: if there is a checkpoint where a fresh start is wanted.
        CheckpointError: if all checkpoints are damaged, or the other run has none.
    """
    checkpoint, damaged = newest_valid(folder)
    if checkpoint is not None and resume == "none":
        raise SettingError(f"--resume is none and {folder} holds checkpoints; accepted: an empty run folder")
    if checkpoint is None and resume not in ("auto", "none"):
        return find_training_state(resume)
    return checkpoint, damaged


def find_training_state(source: str) -> tuple[Path, list[str]]:
    """The newest undamaged checkpoint of another run, and lines about newer ones that are damaged.

    Args:
        source: the run's folder, one of its checkpoints, or a Hub id.

    Raises:
        CheckpointError: if there is none.
    """
    accepted = "accepted: auto, none, a folder or a Hub id"
    folder = Path(source)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(source, allow_patterns=["checkpoint-*/*", "training/checkpoint-*/*"]))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"--resume: {source}: {one_line(error, 200)}; {accepted}") from error
    if CHECKPOINT_NAME.fullmatch(folder.name):
        check(folder)
        return folder, []
    for place in (folder, folder / "training"):
        checkpoint, damaged = newest_valid(place)
        if checkpoint is not None:
            return checkpoint, damaged
    raise CheckpointError(f"--resume: {source}: holds no checkpoint; {accepted}")


def load_checkpoint(checkpoint: Path, networks: dict[str, nn.Module]) -> tuple[dict[str, dict], Position]:
    """Fills `networks` from a checkpoint and returns the optimizers' states, for `fill_optimizers`, and the position.

    Raises:
        CheckpointError: if something in it is not what `save_checkpoint` writes, or a network's tensors do not fit.
    """
    for name, network in networks.items():
        fill_network(network, checkpoint / f"{name}.safetensors")
    try:
        states = read_states(checkpoint / OPTIMIZERS)
    except Exception as error:  # damaged files surface as almost any type
        raise CheckpointError(
            f"{checkpoint}: {OPTIMIZERS} holds no states of optimizers and is not read ({type(error).__name__})"
        ) from error
    try:
        position = Position.model_validate_json((checkpoint / POSITION).read_bytes())
    except ValidationError as failure:
        error = failure.errors()[0]
        where = ".".join(str(part) for part in error["loc"])
        raise CheckpointError(f"{checkpoint}: {POSITION}: {where}: {one_line(error['msg'], 200)}") from failure
    except OSError as error:
        raise CheckpointError(f"{checkpoint}: {POSITION} cannot be read: {error.strerror}") from error
    if checkpoint_name(position.step) != checkpoint.name:
        raise CheckpointError(f"{checkpoint}: {POSITION} is of step {position.step}")
    return states, position


def fill_network(network: nn.Module, path: Path) -> None:
    """Loads all tensors of a network from a safetensors file; names, shapes and dtypes have to agree."""
    try:
        tensors, own = load_file(path), network.state_dict()
        for key, tensor in tensors.items():
            if key in own and tensor.dtype != own[key].dtype:
                raise ValueError(f"{key} is {tensor.dtype}; accepted: {own[key].dtype}")
        network.load_state_dict(tensors)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path.parent}: {path.name}: {one_line(error, 300)}") from error


def fill_optimizers(optimizers: dict[str, torch.optim.Optimizer], states: dict[str, dict], checkpoint: Path) -> None:
    """Gives optimizers of the Adam family the states of a checkpoint; their settings stay the recipe's.

    Raises:
        CheckpointError: if the states are those of other networks, or none.
    """
    for name, optimizer in optimizers.items():
        groups = optimizer.state_dict()["param_groups"]
        try:
            check_state(states[name], optimizer)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{checkpoint}: {OPTIMIZERS} holds no states of this recipe's optimizer of the {name}: "
                f"{type(error).__name__}: {one_line(str(error), 100)}"
            ) from error
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for number, values in states[name]["state"].items():  # in memory they have to lie as their parameter does
            for part in ADAM_STATE - {"step"}:
                values[part] = torch.empty_like(parameters[number]).copy_(values[part])
        optimizer.load_state_dict({"state": states[name]["state"], "param_groups": groups})


def check_state(saved: dict, optimizer: torch.optim.Optimizer) -> None:
    """Raises almost any error if `saved` is not what an optimizer of the same parameters has saved."""
    numbers = [group["params"] for group in optimizer.state_dict()["param_groups"]]
    if [group["params"] for group in saved["param_groups"]] != numbers:
        raise ValueError("other groups of parameters")
    parameters = dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))
    for number, values in saved["state"].items():
        parameter = parameters[number]
        if set(values) != ADAM_STATE or values["step"].shape != ():
            raise ValueError(f"state of parameter {number}")
        for value in (values["exp_avg"], values["exp_avg_sq"]):
            if (value.shape, value.dtype) != (parameter.shape, parameter.dtype):
                raise ValueError(f"parameter {number} is {tuple(parameter.shape)}, its state {tuple(value.shape)}")


__all__ = [
    "CheckpointError",
    "Position",
    "fill_optimizers",
    "find_checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "save_checkpoint",
    "what_stands",
]
