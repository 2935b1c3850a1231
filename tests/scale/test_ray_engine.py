"""Ray with two workers: the same results as without, whatever is killed, and no word of its own."""

import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import shard_stand_in
from conftest import ROOT
from picture_files import write_picture
from shard_stand_in import make_work, write_inputs

from modeling_chromagan.errors import SettingError
from modeling_chromagan.scale.plan import make_plan_of_shards
from modeling_chromagan.scale.ray_engine import run_on_ray
from modeling_chromagan.scale.shards import run_shards, select_shards
from modeling_chromagan.scale.store import open_store

WORKERS = 2


def start(command, log=""):
    """Starts a program of this checkout in a process group of its own."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", shard_stand_in.LOG: str(log)}
    command = [sys.executable, *map(str, command)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def stand_in(out, share, log=""):
    return start([ROOT / "tests" / "shard_stand_in.py", out, share], log)


def chromagan(*arguments):
    """What a command prints, if it succeeds."""
    process = start(["-m", "modeling_chromagan.cli", *arguments])
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, ""), errors
    return output.splitlines()


def plan(sources, out, per_shard):
    make_plan_of_shards([str(sources)], str(out), None, per_shard)
    return str(out)


def contents(out):
    """What is recorded, without times; and the bytes of all results."""
    records = {record.name: replace(record, seconds=0.0) for record in open_store(out).read_all()}
    results = {path.relative_to(out): path.read_bytes() for path in Path(out).rglob("[!.]*.png")}
    return records, results


def check(out, sources, log, kills):
    """All is as if nobody had been killed, and what was done twice is bounded."""
    undisturbed = plan(sources, f"{out}-undisturbed", 5)
    for _ in run_shards(make_work(undisturbed), select_shards(undisturbed)):
        pass
    assert contents(out) == contents(undisturbed)
    begun = Counter(line.split()[0] for line in log.read_text().splitlines())
    count = len(list(sources.iterdir()))
    assert len(begun) == count
    assert count <= begun.total() <= count + kills * WORKERS
    assert sorted(path.name for path in Path(out).iterdir() if path.suffix != ".png") == [".chromagan"]


def test_without_ray_there_is_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r'--engine ray needs Ray: pip install "chromagan\[scale\]"$'):
        next(run_on_ray(make_work("out"), range(1), address="local", workers=(1, 1), gpus_per_worker=0))


def test_the_file_that_imports_ray_is_short_and_the_only_one():
    importing = [path for path in (ROOT / "modeling_chromagan").rglob("*.py") if "import ray" in path.read_text()]
    assert [path.name for path in importing] == ["ray_engine.py"]
    assert len(importing[0].read_text().splitlines()) < 100


@pytest.mark.slow
def test_results_and_records_are_those_of_this_process(tmp_path, model_folder):
    for number in range(12):
        write_picture(tmp_path / "in" / f"{number % 3}" / f"{number}.{('png', 'jpg', 'tif')[number % 3]}", seed=number)
    (tmp_path / "in" / "damaged.png").write_bytes(b"no picture")
    colorize = ["colorize", "--model", model_folder, "--device", "cpu"]
    outs = [tmp_path / name for name in ("here", "ray", "both")]
    for out in outs:
        (line,) = chromagan("plan", tmp_path / "in", "-o", out, "--per-shard", 3)
        assert line == "13 pictures in 5 shards, 13 new, 0 gone, 0 not pictures"
    here, ray, both = outs
    for out, *options in (
        (here, "--workers", "2"),
        (ray, "--engine", "ray", "--workers", WORKERS),
        (both, "--engine", "ray", "--shards", "1/2"),
        (both, "--shards", "2/2"),
    ):
        process = start(["-m", "modeling_chromagan.cli", *colorize, "--plan", out, *options])
        output, errors = process.communicate()
        assert all("damaged.png" in line for line in errors.splitlines()), errors
        assert output.splitlines()[-1].endswith("0 not pictures")
    assert Counter(record.status for record in contents(here)[0].values()) == {"colorized": 12, "failed": 1}
    assert contents(ray) == contents(here)
    assert contents(both) == contents(here)
    other = ["--plan", ray, "--engine", "ray", "--saturation", "1.5"]
    process = start(["-m", "modeling_chromagan.cli", *colorize, *other])
    output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    line = f"{ray} was begun with saturation None, not 1.5; accepted: the same, or another OUT"
    assert errors == f"chromagan colorize: error: {line}\n"


@pytest.mark.slow
def test_a_file_that_ends_its_worker_is_tried_five_times_and_the_others_are_done(tmp_path):
    write_inputs(tmp_path / "in", 20, words={3: "damaged", 11: "kill"})
    out = plan(tmp_path / "in", tmp_path / "out", 5)
    process = stand_in(out, "ray", tmp_path / "log")
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    lines = dict(line.split(": ") for line in output.splitlines())
    assert len(lines) == 20
    assert (lines["003.png"], lines["011.png"]) == ("failed", "crashed")
    tries = Counter(line.split()[0] for line in (tmp_path / "log").read_text().splitlines())
    assert tries.pop("011.png") == 5
    assert set(tries.values()) == {1}
    statuses = Counter(record.status for record in contents(out)[0].values())
    assert statuses == {"colorized": 18, "failed": 1, "crashed": 1}


@pytest.mark.slow
def test_a_worker_that_is_killed_in_mid_file_costs_one_picture(tmp_path):
    write_inputs(tmp_path / "in", 60, word="slow")
    out, log = plan(tmp_path / "in", tmp_path / "out", 5), tmp_path / "log"
    process = stand_in(out, "ray", log)
    while process.poll() is None and not (log.is_file() and len(log.read_text().splitlines()) > 10):
        time.sleep(0.01)
    worker = int(log.read_text().splitlines()[-1].split()[1])
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    check(out, tmp_path / "in", log, kills=1)


@pytest.mark.slow
def test_a_driver_that_is_killed_at_random_moments_loses_nothing(tmp_path):
    rounds = 20
    write_inputs(tmp_path / "in", 400, word="slow")
    out, log = plan(tmp_path / "in", tmp_path / "out", 5), tmp_path / "log"
    moments = random.Random(0)
    killed = 0
    while killed < rounds:
        before = len(log.read_text()) if log.is_file() else 0
        process = stand_in(out, "ray", log)
        while process.poll() is None and (not log.is_file() or len(log.read_text()) == before):
            time.sleep(0.01)  # until the first picture of this round is begun
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, 0.4))
        killed += process.poll() is None
        process.kill()
        process.communicate()
        for path in Path(out).glob("*.png"):
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
        if len(contents(out)[0]) == 400:
            break
    assert killed == rounds
    process = stand_in(out, "1/1", log)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    check(out, tmp_path / "in", log, kills=killed)


class Stub:
    """A worker for which every shard is done at once."""

    def __init__(self, work):
        pass

    def __call__(self, batch):
        return {"done": [pickle.dumps([os.urandom(500)]) for _ in batch["item"]]}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is read from /proc")
def test_memory_of_the_driver_does_not_grow_with_the_number_of_shards(tmp_path):
    code = (
        "import sys; from scale.test_ray_engine import Stub; from shard_stand_in import make_work\n"
        "from modeling_chromagan.scale.ray_engine import run_on_ray\n"
        "work, indices = make_work('out'), range(int(sys.argv[1]))\n"
        "done = run_on_ray(work, indices, address='local', workers=(2, 2), gpus_per_worker=0, worker=Stub)\n"
        "count = sum(1 for _ in done)\n"
        "pages = int(open('/proc/self/statm').read().split()[1]); print(count, pages * 4096 // 1_000_000)"
    )
    megabytes = []
    for shards in (1_000, 100_000):
        process = start(["-c", code, shards])
        output, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        count, size = map(int, output.split())
        assert count == shards
        megabytes.append(size)
    assert megabytes[1] < megabytes[0] + 60
