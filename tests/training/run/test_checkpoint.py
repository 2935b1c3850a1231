"""What a checkpoint survives: damage of every file, a full disk at every write, kills, signals."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch import nn

from modeling_chromagan.training.run import checkpoint as checkpoints
from modeling_chromagan.training.run.checkpoint import (
    CheckpointError,
    find_training_state,
    list_checkpoints,
    load_checkpoint,
    newest_valid,
    save_checkpoint,
)
from modeling_chromagan.training.run.log import RunLog

POSITION = {"phase": 0, "rejected": {}, "skipped": {}}
FILES = ["generator.safetensors", "optimizers.pt", "position.json", "recipe.yaml", "manifest.json"]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def save(folder: Path, step: int, keep: int = 2) -> Path:
    states = {"generator": torch.optim.Adam(network().parameters()).state_dict()}
    return save_checkpoint(folder, step, {"generator": network(step)}, states, keep, POSITION, "name: drawn\n")


def test_what_is_saved_comes_back(tmp_path):
    save(tmp_path, 7)
    loaded = network(99)
    states, position = load_checkpoint(newest_valid(tmp_path)[0], {"generator": loaded})
    assert torch.equal(loaded.weight, network(7).weight)
    assert position == POSITION | {"step": 7}
    assert set(states) == {"generator"}
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
    assert find_training_state(str(tmp_path / "run")) == newest
    assert find_training_state(str(newest)) == newest
    shutil.copytree(tmp_path / "run", tmp_path / "published" / "training")
    assert find_training_state(str(tmp_path / "published")).name == newest.name
    (tmp_path / "none").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        find_training_state(str(tmp_path / "none"))


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
    monkeypatch.setattr(checkpoints, "flush", limited(checkpoints.flush))
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


def test_a_log_is_cut_to_the_step_and_forgets_half_a_line(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    log.truncate(3)
    for step in range(1, 6):
        log.write(step, "color", {"total": 1 / step})
    with open(log.path, "a") as file:
        file.write('{"step": 6, "pha')
    assert [line["step"] for line in log.read()] == [1, 2, 3, 4, 5]
    log.truncate(3)
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [1, 2, 3]
    assert log.read()[-1]["total"] == 1 / 3


# The whole script


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_twenty_kills_change_nothing(precision):
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


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    from survival import draw_pictures

    folder = tmp_path_factory.mktemp("drawn") / "pictures"
    draw_pictures(folder)
    return folder


def start_training(pictures: Path, output: Path, *settings: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), str(ROOT / "recipes" / "debug.yaml")]
    command += [f"data.sources.pictures.path={pictures}", f"output={output}", "threads=1", "phases.0.steps=100000"]
    return subprocess.Popen(
        [*command, "checkpoint_every=100000", "sample_every=100000", *settings],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_steps(output: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        log = output / "log.jsonl"
        if log.is_file() and len(log.read_text().splitlines()) >= count:
            return
        time.sleep(0.05)
    pytest.fail("the training did not get going")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("target", ["process", "group", "process twice"])
def test_a_signal_finishes_the_step_saves_and_ends(pictures, tmp_path, number, code, target):
    workers = "data.workers=1" if target == "group" else "data.workers=0"
    training = start_training(pictures, tmp_path / "run", workers)
    wait_for_steps(tmp_path / "run", 3)
    if target == "group":
        os.killpg(training.pid, number)
    else:
        training.send_signal(number)
        if target == "process twice":
            for _ in range(40):  # also while it is on its way out
                time.sleep(0.05)
                training.send_signal(number)
    _, errors = training.communicate(timeout=10)  # seconds a run may take to save and end
    assert training.returncode == code, errors
    assert errors.strip().splitlines()[-1].startswith(f"train.py: stopped by {number.name}")
    assert "Traceback" not in errors
    checkpoint, damaged = newest_valid(tmp_path / "run")
    assert damaged == []
    last = RunLog(tmp_path / "run" / "log.jsonl").read()[-1]["step"]
    assert json.loads((checkpoint / "position.json").read_text())["step"] >= last


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(pictures, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here; the full disk is also tested with injected errors")
    settings = ["phases.0.steps=30", "phases.1.steps=1", "checkpoint_every=1", "sample_every=1000"]
    try:
        training = start_training(pictures, disk / "run", *settings)
        _, errors = training.communicate(timeout=200)
        assert training.returncode == 1, errors
        assert "No space left" in errors or "os error 28" in errors
        assert errors.strip().splitlines()[-1].endswith("the last checkpoint stands")
        assert "Traceback" not in errors
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        training = start_training(pictures, disk / "run", *settings)
        _, errors = training.communicate(timeout=200)
        assert training.returncode == 0, errors
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
