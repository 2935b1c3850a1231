"""The worker of a shard: its share, settings that have to stay, other processes, kills at any moment."""

import json
import os
import random
import re
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from shard_stand_in import Painter, begin, end, has_ended, make_work, write_inputs

from modeling_chromagan.archive.manifest import Manifest, Record, read_all
from modeling_chromagan.archive.run_settings import RunSettings
from modeling_chromagan.errors import SettingError, WeightsError
from modeling_chromagan.scale import shards
from modeling_chromagan.scale.plan import make_plan_of_shards
from modeling_chromagan.scale.shards import ShardError, ShardWorker, run_shards, select_shards
from modeling_chromagan.scale.store import open_store


@pytest.fixture
def planned(tmp_path):
    """Plans some inputs, whose first words are given by number; gives OUT."""

    def planned(count=8, per_shard=3, out=None, **inputs):
        write_inputs(tmp_path / "in", count, **inputs)
        out = out or str(tmp_path / "out")
        make_plan_of_shards([str(tmp_path / "in")], out, None, per_shard)
        return out

    return planned


def run(out, log=None, share="1/1", **changes):
    """Status of each result, by name; lines of shards that are left to others."""
    done = list(run_shards(make_work(out, log, **changes), select_shards(out, share)))
    left = [str(item) for item in done if isinstance(item, ShardError)]
    return {item.task.name: item.status for item in done if not isinstance(item, ShardError)}, left


def contents(out):
    """What is recorded, without times; and the bytes of all results."""
    records = {record.name: replace(record, seconds=0.0) for record in open_store(out).read_all()}
    results = {path.name: path.read_bytes() for path in Path(out).glob("*.png")}
    return records, results


def leftovers(out):
    return sorted(path.name for path in Path(out).iterdir() if path.suffix != ".png" and path.name != ".chromagan")


def test_shares_are_disjoint_and_make_the_whole(planned):
    out = planned(count=20, per_shard=3)
    assert [list(select_shards(out, f"{share}/3")) for share in (1, 2, 3)] == [[0, 3, 6], [1, 4], [2, 5]]
    made = [run(out, share=f"{share}/3")[0] for share in (3, 1, 2)]
    assert sorted(name for share in made for name in share) == [f"{number:03}.png" for number in range(20)]
    assert {status for share in made for status in share.values()} == {"colorized"}
    assert set(run(out)[0].values()) == {"kept"}
    records = list(read_all(Path(out)))
    assert Counter(record.status for record in records) == {"colorized": 20}
    assert [path.name for path in sorted((Path(out) / ".chromagan" / "shards").iterdir())] == [
        f"{number:05}.jsonl" for number in range(7)
    ]


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", ""])
def test_a_share_that_there_is_not_is_refused(planned, share):
    with pytest.raises(SettingError, match=r"accepted: I/N, with I from 1 to N"):
        select_shards(planned(), share)


def test_where_there_is_no_plan_nothing_is_made(tmp_path):
    with pytest.raises(SettingError, match="there is no plan"):
        next(run_shards(make_work(tmp_path / "elsewhere"), [0]))
    assert not (tmp_path / "elsewhere").exists()


def test_errors_are_of_their_file_alone_and_can_be_tried_again(planned, tmp_path):
    out = planned(words={1: "damaged", 6: "damaged"})
    statuses, _ = run(out)
    assert Counter(statuses.values()) == {"colorized": 6, "failed": 2}
    write_inputs(tmp_path / "in", 8, words={6: "damaged"})
    assert run(out, only_failed=True)[0] == {"001.png": "colorized", "006.png": "failed"}
    statuses, _ = run(out)
    assert Counter(statuses.values()) == {"kept": 7, "failed": 1}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"weights": "other", "model": "new"}, r"was begun with weights w \(stand-in\), and these are other \(new\)"),
        ({"settings": RunSettings(saturation=1.5)}, "was begun with saturation None, not 1.5"),
        ({"settings": RunSettings(depth="8", metadata="none")}, "was begun with depth same, not 8"),
    ],
)
def test_other_settings_or_weights_are_refused_in_one_line(planned, changes, line):
    out = planned()
    run(out)
    before = contents(out)
    with pytest.raises(SettingError, match=f"^{re.escape(out)}/? {line}; accepted: the same, or another OUT$"):
        run(out, **changes)
    assert contents(out) == before


def test_of_two_runs_that_begin_a_bucket_at_the_same_moment_one_is_refused(planned, memory, monkeypatch):
    out = planned(out="memory://bucket/out")
    get = type(memory).cat_file

    def begin_another(self, path, *arguments, **options):
        if path.endswith("settings.json"):
            monkeypatch.undo()
            run(out, weights="other", model="first")
            raise FileNotFoundError(path)  # as when both had asked
        return get(self, path, *arguments, **options)

    monkeypatch.setattr(type(memory), "cat_file", begin_another)
    with pytest.raises(SettingError, match=r"was begun with weights other \(first\), and these are w \(stand-in\)"):
        run(out)


def test_the_settings_of_a_run_that_was_cut_off_while_it_noted_them_are_not_kept(planned):
    out = planned()
    settings = Path(out) / ".chromagan" / "settings.json"
    settings.write_text('{"settings": {"satu')
    run(out)
    assert json.loads(settings.read_text()) == {"settings": {}, "weights": "w", "model": "stand-in"}
    settings.write_text('["other"}')
    with pytest.raises(SettingError, match=r"settings\.json was not written by a run; remove it"):
        run(out)


def test_a_shard_on_which_another_process_works_is_left_to_it(planned, monkeypatch):
    monkeypatch.setattr(shards, "PATIENCE", 0.05)
    out = planned()
    with shards.lock_shard(open_store(out), "shards/00001"):
        statuses, (line,) = run(out)
    assert line == f"{out}/.chromagan/shards/00001.jsonl: another process works on this shard, which is left to it"
    assert len(statuses) == 5
    assert Counter(run(out)[0].values()) == {"kept": 5, "colorized": 3}


def test_a_shard_that_the_server_refuses_costs_that_shard_alone(planned, memory, monkeypatch):
    out = planned(out="memory://bucket/out")
    get = type(memory).cat_file

    def refuse(self, path, *arguments, **options):
        if path.endswith("00001.jsonl"):
            raise PermissionError(13, "Forbidden")
        return get(self, path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "cat_file", refuse)
        statuses, (line,) = run(out)
    assert line == f"{out}/.chromagan/shards/00001.jsonl: this shard cannot be read: Forbidden"
    assert Counter(statuses.values()) == {"colorized": 5}
    assert Counter(run(out)[0].values()) == {"kept": 5, "colorized": 3}


def test_results_behind_a_url_are_the_same_as_here(planned, memory):
    here, there = planned(), planned(out="memory://bucket/out")
    assert run(there, share="1/2")[0].keys() | run(there, share="2/2")[0].keys() == run(here)[0].keys()
    records, results = contents(here)
    assert {record.name: replace(record, seconds=0.0) for record in open_store(there).read_all()} == records
    assert {name: memory.cat_file(f"/bucket/out/{name}") for name in results} == results
    assert set(run(there)[0].values()) == {"kept"}
    with pytest.raises(SettingError, match="was begun with weights"):
        run(there, weights="other")


def test_what_a_process_was_at_when_it_ended_comes_first_and_alone(planned):
    out = planned(count=6, per_shard=6)
    manifest = Manifest(Path(out) / ".chromagan" / "shards" / "00000.jsonl")
    for name in ("002.png", "004.png"):
        manifest.add(Record(name, "started", name, tries=1))
    at_once, order = [], []

    class Watched(Painter):
        def colorize(self, source, *, output, **how):
            order.append(output)
            at_once.append(output)
            time.sleep(0.02)
            if output in ("002.png", "004.png"):
                assert at_once == [output]
            try:
                return super().colorize(source, output=output, **how)
            finally:
                at_once.remove(output)

    assert set(run(out, load=Watched, threads=3)[0].values()) == {"colorized"}
    assert order[:2] == ["002.png", "004.png"]


def test_a_worker_answers_a_row_for_each_shard(planned):
    import pickle

    out = planned(per_shard=4)
    rows = ShardWorker(make_work(out))({"item": [1, 0]})["done"]
    assert [len(pickle.loads(row)) for row in rows] == [4, 4]

    def refuse():
        raise WeightsError("no weights here")

    for work, line in (
        (make_work(out, load=refuse), "no weights here"),
        (make_work(out, weights="other"), "was begun with weights"),
    ):
        (row,) = ShardWorker(work)({"item": [0]})["done"]
        assert line in str(pickle.loads(row))


def test_a_file_that_ends_its_process_is_tried_five_times_and_the_others_are_done(planned, tmp_path):
    out = planned(words={4: "kill"})
    log = tmp_path / "log"
    assert [end(begin(run, out, log)) for _ in range(6)] == [-signal.SIGKILL] * 5 + [0]
    tries = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert tries.pop("004.png") == 5
    assert set(tries.values()) == {1}
    records, results = contents(out)
    assert Counter(record.status for record in records.values()) == {"colorized": 7, "crashed": 1}
    assert records["004.png"].reason == "the program ended 5 times while at it"
    assert len(results) == 7
    assert leftovers(out) == []


@pytest.mark.parametrize("rounds", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_at_random_moments_lose_nothing(planned, tmp_path, rounds):
    count = 2 * rounds
    out = planned(count=count, per_shard=5, word="slow")
    log = tmp_path / "log"
    log.touch()
    moments = random.Random(0)
    for number in range(rounds):
        before, begun = len(log.read_text().splitlines()), number % 3
        process = begin(run, out, log)
        # After so many pictures, and not seconds: a slow machine would kill a process five times at the same one.
        while len(log.read_text().splitlines()) < before + begun and not has_ended(process):
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.05 if begun else 0.2))
        os.kill(process, signal.SIGKILL)
        end(process)
        for path in Path(out).glob("*.png"):  # whole at every moment
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    assert end(begin(run, out, log)) == 0
    undisturbed = str(tmp_path / "undisturbed")
    make_plan_of_shards([str(tmp_path / "in")], undisturbed, None, 5)
    run(undisturbed)
    assert contents(out) == contents(undisturbed)
    begun = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert len(begun) == count
    assert count <= begun.total() <= count + rounds  # one picture that is done again for each kill
    assert leftovers(out) == []
