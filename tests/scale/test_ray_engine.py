"""Ray with two workers: the same results as without, whatever is killed, and no word of its own."""

import ast
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT
from picture_files import write_picture
from shard_stand_in import begin, end, has_ended, make_work, write_inputs

from modeling_chromagan.errors import SettingError
from modeling_chromagan.scale import ray_engine
from modeling_chromagan.scale.plan import make_plan_of_shards
from modeling_chromagan.scale.ray_engine import run_on_ray
from modeling_chromagan.scale.shards import run_shards, select_shards
from modeling_chromagan.scale.store import open_store

WORKERS = 2
CLUSTER = f"""
import sys, ray
ray.init(address="local", num_cpus={WORKERS}, object_store_memory=100 << 20, include_dashboard=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray cluster that outlives its drivers, which tests fork with Ray imported."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("ray.data", reason="the extra scale is not installed")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
        command, pipe = [sys.executable, "-c", CLUSTER], subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
            yield process.stdout.readline().strip()
            process.communicate()


def drive(cluster, out, log):
    """Works off a plan on the cluster; gives what became of each picture."""
    options = {"address": cluster, "workers": (WORKERS, WORKERS), "gpus_per_worker": 0}
    return {done.task.name: done.status for done in run_on_ray(make_work(out, log), select_shards(out), **options)}


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
    list(run_shards(make_work(undisturbed), select_shards(undisturbed)))
    assert contents(out) == contents(undisturbed)
    begun = Counter(line.split()[0] for line in log.read_text().splitlines())
    count = len(list(sources.iterdir()))
    assert len(begun) == count
    assert count <= begun.total() <= count + kills * WORKERS
    assert sorted(path.name for path in Path(out).iterdir() if path.suffix != ".png") == [".chromagan"]


def wait_for_lines(driver, log, count):
    """Waits until so many pictures are begun."""
    while not log.is_file() or len(log.read_text().splitlines()) < count:
        assert not has_ended(driver), "it ended too early"
        time.sleep(0.01)


def test_without_ray_there_is_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r'--engine ray needs Ray: pip install "chromagan\[scale\]"$'):
        next(run_on_ray(make_work("out"), range(1), address="local", workers=(1, 1), gpus_per_worker=0))


def test_the_file_that_imports_ray_is_short_and_the_only_one():
    importing = [path for path in (ROOT / "modeling_chromagan").rglob("*.py") if "import ray" in path.read_text()]
    assert [path.name for path in importing] == ["ray_engine.py"]
    assert len(importing[0].read_text().splitlines()) < 100


@pytest.mark.slow
def test_results_and_records_are_those_of_this_process(cluster, run, model_folder, tmp_path):
    for number in range(12):
        write_picture(tmp_path / "in" / f"{number % 3}" / f"{number}.{('png', 'jpg', 'tif')[number % 3]}", seed=number)
    (tmp_path / "in" / "damaged.png").write_bytes(b"no picture")
    here, ray, both = (plan(tmp_path / "in", tmp_path / name, 3) for name in ("here", "ray", "both"))

    def run_alone(*arguments):
        command = [sys.executable, "-m", "modeling_chromagan.cli", "colorize", *map(str, arguments)]
        process = subprocess.run(command, capture_output=True, text=True)
        return process.returncode, process.stdout.splitlines(), process.stderr.splitlines()

    for program, out, *more in (
        (run, here, "--workers", "2"),
        (run_alone, ray, "--engine", "ray", "--workers", WORKERS),  # and Ray is started for it
        (run_alone, both, "--engine", "ray", "--address", cluster, "--shards", "1/2"),
        (run, both, "--shards", "2/2"),
    ):
        code, lines, errors = program("--model", model_folder, "--device", "cpu", "--plan", out, *more)
        assert code == (1 if any(errors) else 0)
        assert all("damaged.png" in line for line in errors), errors
        assert lines[-1].endswith("0 not pictures")
    assert Counter(record.status for record in contents(here)[0].values()) == {"colorized": 12, "failed": 1}
    assert contents(ray) == contents(here)
    assert contents(both) == contents(here)

    def refuse():
        line = rf"^{ray} was begun with weights .* these are w \(stand-in\); accepted: the same, or another OUT$"
        with pytest.raises(SettingError, match=line):
            drive(cluster, ray, None)

    assert end(begin(refuse)) == 0


@pytest.mark.slow
def test_a_file_that_ends_its_worker_is_tried_five_times_and_the_others_are_done(cluster, tmp_path, capfd):
    write_inputs(tmp_path / "in", 20, words={3: "damaged", 11: "kill"})
    out, log = plan(tmp_path / "in", tmp_path / "out", 5), tmp_path / "log"
    assert end(begin(lambda: print(drive(cluster, out, log), flush=True))) == 0
    said, errors = capfd.readouterr()
    assert errors == ""
    statuses = ast.literal_eval(said)
    assert (len(statuses), statuses["003.png"], statuses["011.png"]) == (20, "failed", "crashed")
    tries = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert tries.pop("011.png") == 5
    assert set(tries.values()) == {1}
    statuses = Counter(record.status for record in contents(out)[0].values())
    assert statuses == {"colorized": 18, "failed": 1, "crashed": 1}


@pytest.mark.slow
def test_a_worker_that_is_killed_in_mid_file_costs_one_picture(cluster, tmp_path):
    write_inputs(tmp_path / "in", 30, word="slow")
    out, log = plan(tmp_path / "in", tmp_path / "out", 5), tmp_path / "log"
    driver = begin(drive, cluster, out, log)
    wait_for_lines(driver, log, 5)
    os.kill(int(log.read_text().splitlines()[-1].split()[1]), signal.SIGKILL)
    assert end(driver) == 0
    check(out, tmp_path / "in", log, kills=1)


@pytest.mark.slow
def test_a_driver_that_is_killed_at_random_moments_loses_nothing(cluster, tmp_path):
    """Twice with a cluster that ends with it; then with one that does not."""
    rounds, count = 20, 250
    write_inputs(tmp_path / "in", count, word="slow")
    out, log = plan(tmp_path / "in", tmp_path / "out", 5), tmp_path / "log"
    log.touch()
    moments = random.Random(0)
    for number in range(rounds):
        before = len(log.read_text().splitlines())
        driver = begin(drive, "local" if number < 2 else cluster, out, log)
        if begun := moments.randint(0, 8):  # pictures, and not seconds: else slow machines would kill one five times
            wait_for_lines(driver, log, before + begun)
        time.sleep(moments.uniform(0, 0.05 if begun else 2))
        os.kill(driver, signal.SIGKILL)
        assert end(driver) == -signal.SIGKILL, "it was done before it was killed"
        for path in Path(out).glob("*.png"):
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    list(run_shards(make_work(out, log), select_shards(out)))
    check(out, tmp_path / "in", log, kills=rounds)


class Stub:
    """A worker for which every shard is done at once, with many words; it notes in a file how often it was asked."""

    def __init__(self, work):
        self.work = work

    def __call__(self, batch):
        with open(self.work.out, "a") as file:
            file.write(f"{len(batch['item'])}\n")
        return {"done": [pickle.dumps([os.urandom(20_000)]) for _ in batch["item"]]}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is read from /proc")
def test_memory_of_the_driver_does_not_grow_with_the_number_of_shards(cluster, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(ray_engine, "MOST_BLOCKS", 50)

    def measure(shards):
        options = {"address": cluster, "workers": (WORKERS, WORKERS), "gpus_per_worker": 0, "worker": Stub}
        count = sum(1 for _ in run_on_ray(make_work(tmp_path / f"{shards}"), range(shards), **options))
        print(count, int(Path("/proc/self/statm").read_text().split()[1]) * 4096, flush=True)

    assert [end(begin(measure, shards)) for shards in (50, 5_000)] == [0, 0]
    (few, before), (many, after) = (map(int, line.split()) for line in capfd.readouterr().out.splitlines())
    assert (few, many) == (50, 5_000)
    assert after < before + 30_000_000, "of 100 MB that went through it, and of what it knows of blocks"
    assert len((tmp_path / "5000").read_text().splitlines()) == 50
