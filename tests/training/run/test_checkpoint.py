"""What a checkpoint survives: damage of every file, a full disk at every write, kills."""

import errno
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from debug_run import endless_training
from safetensors.torch import load_file, save_file
from torch import nn

from modeling_chromagan import durable_files
from modeling_chromagan.training.recipe import Recipe
from modeling_chromagan.training.run import checkpoint as checkpoints
from modeling_chromagan.training.run.checkpoint import (
    CheckpointError,
    Position,
    fill_optimizers,
    find_checkpoint,
    find_training_state,
    list_checkpoints,
    load_checkpoint,
    newest_valid,
    read_states,
    save_checkpoint,
    what_stands,
    write_states,
)
from modeling_chromagan.training.step import computes_in_bfloat16

FILES = ["generator.safetensors", "optimizers.safetensors", "position.json", "recipe.yaml", "manifest.json"]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    """Adam after a step."""
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


def save(folder: Path, step: int, keep: int = 2) -> Path:
    module = network(step)
    states = {"generator": optimizer_of(module).state_dict()}
    position = Position(step=step, phase=0, rejected={"pictures": {"broken": 1}})
    return save_checkpoint(folder, position, {"generator": module}, states, keep, "name: drawn\n")


def resume(folder: Path) -> tuple[Position, list[str]]:
    """What a run does with its folder before it goes on."""
    checkpoint, damaged = find_checkpoint(folder, "auto")
    module = network(99)
    states, position = load_checkpoint(checkpoint, {"generator": module})
    fill_optimizers({"generator": torch.optim.Adam(module.parameters())}, states, checkpoint)
    return position, damaged


def test_what_is_saved_comes_back(tmp_path):
    save(tmp_path, 7)
    loaded = network(99)
    checkpoint, damaged = find_checkpoint(tmp_path, "auto")
    states, position = load_checkpoint(checkpoint, {"generator": loaded})
    assert damaged == []
    trained = network(7)
    expected = optimizer_of(trained)
    assert torch.equal(loaded.weight, trained.weight)
    assert position == Position(step=7, phase=0, rejected={"pictures": {"broken": 1}})
    optimizer = torch.optim.Adam(loaded.parameters(), lr=0.5)
    fill_optimizers({"generator": optimizer}, states, checkpoint)
    for ours, theirs in zip(loaded.parameters(), trained.parameters(), strict=True):
        for name, value in expected.state[theirs].items():
            assert torch.equal(optimizer.state[ours][name], value)
    assert optimizer.param_groups[0]["lr"] == 0.5, "settings are the recipe's"
    assert sorted(path.name for path in (tmp_path / "checkpoint-00000007").iterdir()) == sorted(FILES)


def test_the_newest_are_kept_and_never_less_than_two(tmp_path):
    for step in range(1, 6):
        save(tmp_path, step, keep=1)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-00000004", "checkpoint-00000005"]
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, file, damage):
    older, newest = save(tmp_path, 1), save(tmp_path, 2)
    path = newest / file
    content = bytearray(path.read_bytes())
    if damage == "deleted":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        place = content.index(b"sha256") + 20 if file == "manifest.json" else len(content) // 2
        content[place] ^= 1
        path.write_bytes(content)
    taken, damaged = newest_valid(tmp_path)
    assert taken == older
    assert len(damaged) == 1
    assert newest.name in damaged[0]


def seal(checkpoint: Path, **changes) -> None:
    """Writes the manifest anew, so that only what the files hold is wrong."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in checkpoint.iterdir()
        if path.name != "manifest.json"
    }
    step = int(checkpoint.name.split("-")[1])
    (checkpoint / "manifest.json").write_text(json.dumps({"step": step, "files": files} | changes))


def position_of(checkpoint: Path, **changes) -> None:
    position = json.loads((checkpoint / "position.json").read_text()) | changes
    position = {name: value for name, value in position.items() if value is not None}
    (checkpoint / "position.json").write_text(json.dumps(position))
    seal(checkpoint)


def manifest_of(checkpoint: Path, change) -> None:
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    change(manifest["files"])
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def states_of(checkpoint: Path, change) -> None:
    """Changes the optimizers' states, in place or for what `change` returns."""
    states = read_states(checkpoint / "optimizers.safetensors")
    changed = change(states)
    write_states(checkpoint / "optimizers.safetensors", states if changed is None else changed)
    seal(checkpoint)


def tensors_of(checkpoint: Path, change) -> None:
    tensors = load_file(checkpoint / "generator.safetensors")
    save_file(change(tensors), checkpoint / "generator.safetensors")
    seal(checkpoint)


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (os.environ["CHROMAGAN_TEST_EXECUTED"],)


def write_pickle(checkpoint: Path) -> None:
    (checkpoint / "optimizers.safetensors").write_bytes(pickle.dumps(Code()))
    seal(checkpoint)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


WRONG = {  # damage that the checksums show, or that no checkpoint can have: the one before is taken
    "empty file": lambda at: (at / "generator.safetensors").write_bytes(b""),
    "swapped files": lambda at: swap(at / "position.json", at / "recipe.yaml"),
    "recipe garbage": lambda at: (at / "recipe.yaml").write_bytes(b"\xff\x00: ["),
    "folder instead of file": lambda at: replace_by_folder(at / "optimizers.safetensors"),
    "broken link": lambda at: (
        (at / "optimizers.safetensors").unlink(),
        (at / "optimizers.safetensors").symlink_to("nowhere"),
    ),
    "link to itself": lambda at: ((at / "recipe.yaml").unlink(), (at / "recipe.yaml").symlink_to("recipe.yaml")),
    "manifest of another step": lambda at: seal(at, step=1),
    "manifest without files": lambda at: seal(at, files={}),
    "manifest with a list": lambda at: seal(at, files=[]),
    "manifest too deep": lambda at: (at / "manifest.json").write_text("[" * 100_000),
    "manifest not text": lambda at: (at / "manifest.json").write_bytes(b"\xff\xfe"),
    "manifest out of the folder": lambda at: manifest_of(
        at, lambda files: files.update({"../recipe.yaml": files["recipe.yaml"]})
    ),
    "manifest without bytes": lambda at: manifest_of(at, lambda files: files["recipe.yaml"].pop("bytes")),
    "file instead of folder": lambda at: (shutil.rmtree(at), at.write_bytes(b"")),
    "empty folder": lambda at: (shutil.rmtree(at), at.mkdir()),
}
UNFIT = {  # sound by its manifest, but of something else: refused, a run does not go back by itself
    "tensors without groups": (
        lambda at: (save_file({"x": torch.ones(2)}, at / "optimizers.safetensors"), seal(at)),
        "optimizers.safetensors",
    ),
    "names that are none": (
        lambda at: (save_file({"x": torch.ones(2)}, at / "optimizers.safetensors", {"groups": "{}"}), seal(at)),
        "optimizers.safetensors",
    ),
    "code": (write_pickle, "optimizers.safetensors"),
    "text as tensors": (
        lambda at: ((at / "optimizers.safetensors").write_text("no tensors"), seal(at)),
        "optimizers.safetensors",
    ),
    "no states": (lambda at: states_of(at, lambda states: {}), "optimizers.safetensors"),
    "a state without moments": (
        lambda at: states_of(at, lambda states: states["generator"]["state"][0].update(exp_avg=None)),
        "optimizers.safetensors",
    ),
    "states of a wider network": (
        lambda at: states_of(at, lambda states: {"generator": optimizer_of(nn.Linear(3, 9)).state_dict()}),
        "parameter 0 is (2, 3), its state (9, 3)",
    ),
    "states of a deeper network": (
        lambda at: states_of(
            at, lambda states: {"generator": optimizer_of(nn.Sequential(network(), nn.Linear(2, 2))).state_dict()}
        ),
        "other groups of parameters",
    ),
    "half precision moments": (
        lambda at: states_of(
            at, lambda states: states["generator"]["state"][0].update(exp_avg=torch.zeros(2, 3).half())
        ),
        "optimizers.safetensors",
    ),
    "other shapes": (
        lambda at: tensors_of(at, lambda tensors: tensors | {"weight": torch.ones(4, 4)}),
        "generator.safetensors: Error(s) in loading state_dict for Linear: size mismatch for weight",
    ),
    "other names": (
        lambda at: tensors_of(at, lambda tensors: {f"x.{name}": tensor for name, tensor in tensors.items()}),
        "generator.safetensors",
    ),
    "other dtypes": (
        lambda at: tensors_of(at, lambda tensors: {name: tensor.half() for name, tensor in tensors.items()}),
        "generator.safetensors: bias is torch.float16; accepted: torch.float32",
    ),
    "no safetensors": (
        lambda at: ((at / "generator.safetensors").write_bytes(b"\xff" * 64), seal(at)),
        "generator.safetensors",
    ),
    "no network": (lambda at: ((at / "generator.safetensors").unlink(), seal(at)), "generator.safetensors"),
    "a negative step": (lambda at: position_of(at, step=-1), "position.json: step"),
    "another step": (lambda at: position_of(at, step=3), "position.json is of step 3"),
    "a step that is no number": (lambda at: position_of(at, step=float("nan")), "position.json"),
    "a step as text": (lambda at: position_of(at, step="2"), "position.json: step"),
    "no phase": (lambda at: position_of(at, phase=None), "position.json: phase"),
    "counts that are a list": (lambda at: position_of(at, rejected=[]), "position.json: rejected"),
    "a field too many": (lambda at: position_of(at, further=1), "position.json: further"),
}


@pytest.mark.parametrize("damage", WRONG)
def test_what_cannot_be_a_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, damage):
    save(tmp_path, 1)
    WRONG[damage](save(tmp_path, 2))
    position, damaged = resume(tmp_path)
    assert position.step == 1
    assert len(damaged) == 1
    assert "checkpoint-00000002: " in damaged[0]
    assert "\n" not in damaged[0]


@pytest.mark.parametrize("damage", UNFIT)
def test_what_belongs_to_something_else_is_refused_in_one_line(tmp_path, damage, monkeypatch):
    monkeypatch.setenv("CHROMAGAN_TEST_EXECUTED", str(tmp_path / "executed"))
    change, named = UNFIT[damage]
    save(tmp_path, 1)
    change(save(tmp_path, 2))
    with pytest.raises(CheckpointError) as refused:
        resume(tmp_path)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 'checkpoint-00000002'}: ")
    assert named in message
    assert "\n" not in message
    assert refused.value.exit_code == 2
    assert not (tmp_path / "executed").exists()


def test_a_link_or_a_further_file_does_no_harm(tmp_path):
    newest = save(tmp_path, 2)
    (newest / "notes.txt").write_text("mine")
    (newest / "position.json").rename(tmp_path / "elsewhere.json")
    (newest / "position.json").symlink_to(tmp_path / "elsewhere.json")
    assert resume(tmp_path)[0].step == 2


def test_a_file_that_the_disk_does_not_give_back_is_named(tmp_path, monkeypatch):
    save(tmp_path, 2)

    def fail(file, algorithm):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(checkpoints.hashlib, "file_digest", fail)
    with pytest.raises(CheckpointError, match=r"checkpoint-00000002: .* cannot be read: Input/output error"):
        resume(tmp_path)


def test_what_stands_is_said_by_name(tmp_path):
    assert what_stands(tmp_path / "nowhere") == "there is no checkpoint"
    assert what_stands(tmp_path) == "there is no checkpoint"
    save(tmp_path, 1)
    save(tmp_path, 2)
    assert what_stands(tmp_path) == "checkpoint-00000002 stands"


def test_a_run_never_starts_over_in_silence(tmp_path):
    for step in (1, 2):
        (save(tmp_path, step) / "generator.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"checkpoint-00000002: generator.safetensors is missing; .*checkpoint-00000001"
    ):
        newest_valid(tmp_path)
    assert newest_valid(tmp_path / "empty") == (None, [])


def test_another_run_s_state_is_found_by_its_folder_or_checkpoint(tmp_path):
    newest = save(tmp_path / "run", 3)
    assert find_training_state(str(tmp_path / "run")) == (newest, [])
    assert find_training_state(str(newest)) == (newest, [])
    shutil.copytree(tmp_path / "run", tmp_path / "published" / "training")
    found, _ = find_training_state(str(tmp_path / "published"))
    assert found.name == newest.name
    (save(tmp_path / "run", 4) / "optimizers.safetensors").unlink()
    found, damaged = find_checkpoint(tmp_path / "own", str(tmp_path / "run"))
    assert found == newest
    assert "checkpoint-00000004: optimizers.safetensors is missing" in damaged[0]
    (tmp_path / "none").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        find_training_state(str(tmp_path / "none"))


def test_everything_is_on_the_disk_before_the_checkpoint_has_its_name_and_older_ones_go_last(tmp_path, monkeypatch):
    for step in (1, 2):
        save(tmp_path, step)
    events = []

    def noting(word, function):
        def call(path, *arguments, **options):
            if os.path.exists(path):
                events.append((word, Path(path).name))
            return function(path, *arguments, **options)

        return call

    monkeypatch.setattr(durable_files, "flush", noting("flush", durable_files.flush))
    monkeypatch.setattr(Path, "rename", noting("rename", Path.rename))
    monkeypatch.setattr(shutil, "rmtree", noting("remove", shutil.rmtree))
    save(tmp_path, 3)
    partial = ".partial-checkpoint-00000003"
    assert events == [
        *(("flush", name) for name in sorted(FILES)),
        ("flush", partial),
        ("rename", partial),
        ("flush", tmp_path.name),
        ("remove", "checkpoint-00000001"),
    ]


def test_a_full_disk_at_any_write_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    """ENOSPC at the first write, at the second, ... until a save gets through."""
    save(tmp_path, 1)
    writes = {"count": 0, "fail_at": 0}

    def limited(function):
        def call(*arguments, **options):
            writes["count"] += 1
            if writes["count"] == writes["fail_at"]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(checkpoints, "save_file", limited(checkpoints.save_file))
    monkeypatch.setattr(checkpoints.torch, "save", limited(torch.save))
    monkeypatch.setattr(Path, "write_text", limited(Path.write_text))
    monkeypatch.setattr(durable_files, "flush", limited(durable_files.flush))
    for fail_at in range(1, 30):
        writes.update(count=0, fail_at=fail_at)
        try:
            save(tmp_path, 2)
        except OSError:
            taken, damaged = newest_valid(tmp_path)
            # The very last write is the folder's list of files, after the new checkpoint is in its place.
            assert damaged == []
            assert taken.name in ("checkpoint-00000001", "checkpoint-00000002")
            assert not list(tmp_path.glob(".partial-checkpoint-00000002"))
        else:
            break
    assert fail_at > 8
    assert newest_valid(tmp_path)[0].name == "checkpoint-00000002"


# The whole script


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_twenty_kills_change_nothing(precision):
    if precision == "bfloat16" and not computes_in_bfloat16(
        Recipe.model_construct(precision=precision), torch.device("cpu")
    ):
        pytest.skip("this processor computes bfloat16 recipes in float32, which the other case does")
    rounds = "20" if precision == "float32" else "5"
    command = [
        sys.executable,
        str(ROOT / "tests" / "training" / "run" / "survival.py"),
        "--rounds",
        rounds,
        "--precision",
        precision,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "equal to the one left alone" in done.stdout


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(photographs, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    # Room for two checkpoints of 1.5 MB, and not for the third that is written before the first of them goes.
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here; the full disk is also tested with injected errors")
    settings = ["phases.0.steps=30", "phases.1.steps=1", "checkpoint_every=1", "sample_every=1000"]
    try:
        with endless_training(photographs, disk / "run", *settings) as training:
            _, errors = training.communicate(timeout=200)
        assert training.returncode == 1, errors
        assert "No space left" in errors or "os error 28" in errors
        assert errors.strip().splitlines()[-1].endswith(" stands")
        assert "Traceback" not in errors
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        with endless_training(photographs, disk / "run", *settings) as training:
            _, errors = training.communicate(timeout=200)
        assert training.returncode == 0, errors
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
