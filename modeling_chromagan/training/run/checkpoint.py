"""Training state on disk: complete, checked and durable, or not there; nothing in it is unpickled as code.

A checkpoint is a folder `checkpoint-STEP` with the networks and their average (safetensors), the optimizers' states
(read with `weights_only=True`), the position (JSON), the recipe (YAML), and last a manifest with the size and SHA-256
of every file. It is written under another name, flushed to the disk and renamed; older ones go only afterwards.
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ...errors import one_line

CHECKPOINT_NAME = re.compile(r"checkpoint-(\d{8})")
MANIFEST = "manifest.json"
OPTIMIZERS = "optimizers.pt"
POSITION = "position.json"
RECIPE = "recipe.yaml"


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or belongs to other networks; the message is one line naming folder and file."""


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, oldest first, damaged ones included."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if CHECKPOINT_NAME.fullmatch(path.name))


def save_checkpoint(
    folder: Path,
    step: int,
    networks: dict[str, nn.Module],
    states: dict[str, dict],
    keep: int,
    position: dict,
    recipe: str = "",
) -> Path:
    """Writes everything a run needs to continue into `folder`/checkpoint-STEP, then drops all but the newest `keep`.

    Args:
        folder: of the run; made if it is missing.
        step: of the run.
        networks: modules by name; their tensors become safetensors files.
        states: state dictionaries of optimizers by name, which may be `{}`.
        keep: how many to keep, at least two where that many were written.
        position: plain numbers and strings to come back to.
        recipe: the resolved recipe as YAML.

    Raises:
        OSError: if the disk is full or fails; what was there before is then still there.
    """
    target = folder / f"checkpoint-{step:08d}"
    partial = folder / f".partial-{target.name}"
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".partial-checkpoint-*"):  # of a kill inside a save
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        for name, network in networks.items():
            tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
            try:
                save_file(tensors, partial / f"{name}.safetensors")
            except SafetensorError as error:  # how safetensors reports a full disk
                raise OSError(f"{partial / name}.safetensors: {error}") from error
        with open(partial / OPTIMIZERS, "wb") as file:
            try:
                torch.save(states, file)
            except RuntimeError as error:  # how torch's zip writer ends after a write that failed, on a full disk too
                full = error.__context__ if isinstance(error.__context__, OSError) else error
                raise OSError(f"{partial / OPTIMIZERS}: {full}") from error
        (partial / POSITION).write_text(json.dumps(position | {"step": step}), encoding="utf-8")
        (partial / RECIPE).write_text(recipe, encoding="utf-8")
        files = {path.name: describe(path) for path in sorted(partial.iterdir())}
        for name in files:
            flush(partial / name)
        (partial / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=2), encoding="utf-8")
        flush(partial / MANIFEST)
        flush(partial)
        if target.exists():  # the same step once more, after the run went on from an older one
            target.rename(folder / f".partial-{target.name}-replaced")
        partial.rename(target)
        flush(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in [*list_checkpoints(folder)[: -max(keep, 2)], *folder.glob(".partial-checkpoint-*-replaced")]:
        shutil.rmtree(old)
    return target


def describe(path: Path) -> dict:
    """Size and SHA-256 of a file."""
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def flush(path: Path) -> None:
    """Has the operating system write a file or a folder's list of files to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check(checkpoint: Path) -> None:
    """Compares every file with the manifest.

    Raises:
        CheckpointError: naming the first file that is missing or differs.
    """
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: {MANIFEST} is missing or unreadable") from error
    for name, expected in files.items():
        path = checkpoint / name
        if not path.is_file():
            raise CheckpointError(f"{checkpoint}: {name} is missing")
        if path.stat().st_size != expected["bytes"]:
            raise CheckpointError(
                f"{checkpoint}: {name} has {path.stat().st_size:,} bytes; written were {expected['bytes']:,}"
            )
        if describe(path) != expected:
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


def load_checkpoint(checkpoint: Path, networks: dict[str, nn.Module]) -> tuple[dict[str, dict], dict]:
    """Fills `networks` from a checkpoint and returns the optimizers' states and the position that were saved.

    Raises:
        CheckpointError: if a network's tensors do not fit.
    """
    try:
        for name, network in networks.items():
            network.load_state_dict(load_file(checkpoint / f"{name}.safetensors"))
        states = torch.load(checkpoint / OPTIMIZERS, map_location="cpu", weights_only=True)
        return states, json.loads((checkpoint / POSITION).read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint}: {one_line(error, 300)}") from error


def find_training_state(source: str) -> Path:
    """The newest undamaged checkpoint of another run: its folder, one of its checkpoints, or a Hub id.

    Raises:
        CheckpointError: if there is none.
    """
    folder = Path(source)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(source, allow_patterns=["checkpoint-*/*", "training/checkpoint-*/*"]))
        except (OSError, ValueError) as error:
            reason = one_line(error, 200)
            raise CheckpointError(
                f"--resume: {source}: {reason}; accepted: auto, none, a folder or a Hub id"
            ) from error
    if CHECKPOINT_NAME.fullmatch(folder.name):
        check(folder)
        return folder
    for place in (folder, folder / "training"):
        checkpoint, _ = newest_valid(place)
        if checkpoint is not None:
            return checkpoint
    raise CheckpointError(f"--resume: {source}: holds no checkpoint; accepted: auto, none, a folder or a Hub id")
