"""Kills a training again and again, at random instants and inside saves, and compares it with one left alone.

    python tests/training/run/survival.py [--rounds 100] [--seed 0] [--precision bfloat16]

Every round forks from this process, which has everything imported, runs `train.py` with the debug recipe, and kills
it with SIGKILL. After each kill the newest checkpoint must be undamaged and not older than before. At the end the run
is finished and must be, bit for bit, the run that nobody interrupted: networks, average, optimizers, log and grids.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from debug_run import arguments, draw_pictures
from safetensors.torch import load_file

import train
from modeling_chromagan.training.run.checkpoint import list_checkpoints, newest_valid, read_states

STEPS = (25, 35)


def command_line(pictures: Path, output: Path, precision: str) -> list[str]:
    settings = [f"phases.{i}.steps={steps}" for i, steps in enumerate(STEPS)]
    return arguments(pictures, output, *settings, "sample_every=10", "checkpoint_every=2", f"precision={precision}")


def start(command: list[str]) -> int:
    """Forks a training; its output goes to a file, its exit code is that of `train.py`."""
    pid = os.fork()
    if pid:
        return pid
    log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os._exit(train.main(command))


def finish(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_once(pid: int, folder: Path, instant: random.Random) -> bool:
    """Kills at a random instant, half of the times inside a save; whether it was still running."""
    deadline = time.monotonic() + instant.uniform(0.2, 6)
    inside_a_save = instant.random() < 0.5
    pause = instant.uniform(0, 0.02)
    while time.monotonic() < deadline:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            return False
        if inside_a_save and time.monotonic() > deadline - 5 and any(folder.glob(".partial-checkpoint-*")):
            time.sleep(pause)
            break
        time.sleep(0.001 if inside_a_save else 0.02)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    os.waitpid(pid, 0)
    return True


def differences(ours: Path, theirs: Path) -> list[str]:
    """What of two finished runs is not equal to the last bit."""
    found = []
    one, other = list_checkpoints(ours)[-1], list_checkpoints(theirs)[-1]
    for name in ("generator", "critic", "average"):
        a, b = load_file(one / f"{name}.safetensors"), load_file(other / f"{name}.safetensors")
        found += [f"{name}: {key}" for key in b if key not in a or not torch.equal(a[key], b[key])]
    states = [read_states(place / "optimizers.safetensors") for place in (one, other)]
    for name in states[1]:
        for key, state in states[1][name]["state"].items():
            found += [
                f"optimizer of the {name}: {key}.{part}"
                for part, value in state.items()
                if not torch.equal(states[0][name]["state"][key][part], value)
            ]
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (ours, theirs)]
    for log in logs:
        for line in log:
            line.pop("pictures_per_second", None)
    found += ["log.jsonl"] if logs[0] != logs[1] else []
    grids = [sorted((run / "samples").iterdir()) for run in (ours, theirs)]
    if [path.name for path in grids[0]] != [path.name for path in grids[1]]:
        found.append("samples: other files")
    found += [a.name for a, b in zip(*grids, strict=False) if a.read_bytes() != b.read_bytes()]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    instant = random.Random(options.seed)
    work = Path(tempfile.mkdtemp())
    try:
        pictures = work / "pictures"
        draw_pictures(pictures)
        if finish(start(command_line(pictures, work / "alone", options.precision))) != 0:
            sys.exit("the run that nobody kills failed")
        killed = inside = runs = 0
        step, folder = 0, work / "killed-0"
        for _ in range(options.rounds):
            if kill_once(start(command_line(pictures, folder, options.precision)), folder, instant):
                killed += 1
                inside += any(folder.glob(".partial-checkpoint-*"))
                checkpoint, damaged = newest_valid(folder)
                assert not damaged, damaged
                now = int(checkpoint.name.split("-")[1]) if checkpoint else 0
                assert now >= step, f"newest checkpoint {now} after {step}"
                step = now
            else:
                assert differences(folder, work / "alone") == []
                runs += 1
                step, folder = 0, work / f"killed-{runs}"
        assert finish(start(command_line(pictures, folder, options.precision))) == 0
        found = differences(folder, work / "alone")
        assert found == [], found
        print(f"{killed} kills, {inside} of them inside a save, {runs + 1} runs finished: equal to the one left alone")
        return 0
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    torch.set_num_threads(1)  # nothing may have started threads before a fork
    sys.exit(main())
