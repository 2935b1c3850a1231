"""Training state on disk: complete or absent, never half-written, never unpickled."""

import json
import os
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

CHECKPOINT_NAME = re.compile(r"checkpoint-(\d{8})")


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run folder, oldest first."""
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
) -> Path:
    """Writes everything a run needs to continue into `folder`/checkpoint-STEP, then drops all but the newest `keep`.

    It is written under another name and renamed when complete, so that a kill leaves the previous one in force.

    Args:
        networks: modules by name; their tensors become safetensors files.
        states: state dictionaries of optimizers by name, which may be `{}`.
        position: plain numbers and strings to come back to.
    """
    target = folder / f"checkpoint-{step:08d}"
    partial = folder / f".partial-{target.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, network in networks.items():
        tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(tensors, partial / f"{name}.safetensors")
    torch.save(states, partial / "optimizers.pt")
    (partial / "position.json").write_text(json.dumps(position | {"step": step}), encoding="utf-8")
    for path in partial.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def load_checkpoint(checkpoint: Path, networks: dict[str, nn.Module]) -> tuple[dict[str, dict], dict]:
    """Fills `networks` from a checkpoint and returns the optimizers' states and the position that were saved.

    Raises:
        RuntimeError: if a network's tensors do not fit.
    """
    for name, network in networks.items():
        network.load_state_dict(load_file(checkpoint / f"{name}.safetensors"))
    states = torch.load(checkpoint / "optimizers.pt", map_location="cpu", weights_only=True)
    return states, json.loads((checkpoint / "position.json").read_text(encoding="utf-8"))
