"""Signals: the first finishes the step and saves, one a second later ends the process wherever it is."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import threading
import time
from types import SimpleNamespace

import pytest
from debug_run import endless_training, wait_for_steps

from modeling_chromagan.training.run import interruption as interruptions
from modeling_chromagan.training.run.checkpoint import newest_valid
from modeling_chromagan.training.run.interruption import Interrupted, Interruption
from modeling_chromagan.training.run.log import RunLog

HEARD = "stops when this step is done and saved; once more ends at once"


@pytest.fixture
def ended(monkeypatch) -> list[int]:
    """The exit codes with which the process would have ended at once; handlers are as before afterwards."""
    codes = []
    handlers = {number: signal.getsignal(number) for number in interruptions.EXIT_CODES}
    monkeypatch.setattr(interruptions.os, "_exit", codes.append)
    monkeypatch.setattr(interruptions, "ONE_WISH_SECONDS", 0.2)
    yield codes
    for number, handler in handlers.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_first_signal_is_a_wish(ended, capfd):
    with Interruption(lambda: "nothing stands") as interruption:
        assert interruption.received is None
        send(signal.SIGTERM)
        wait_until(lambda: interruption.received)
        assert interruption.received == signal.SIGTERM
    assert capfd.readouterr().err == f"train.py: SIGTERM: {HEARD}\n"
    send(signal.SIGINT)  # on its way out: without effect
    assert Interrupted(interruption.received).exit_code == 143
    assert ended == []


def test_signals_in_quick_succession_are_one_and_a_later_one_ends_at_once(ended, capfd, monkeypatch):
    seconds, heard = iter([0, 0.05, 0.19, 0.2]), []

    def monotonic() -> float:
        heard.append(next(seconds))
        return heard[-1]

    monkeypatch.setattr(interruptions, "time", SimpleNamespace(monotonic=monotonic))
    with Interruption(lambda: "checkpoint-00000002 stands"):
        for count, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGINT), 1):
            send(number)
            wait_until(lambda count=count: len(heard) == count)
        send(signal.SIGTERM)
        wait_until(lambda: ended)
    assert ended == [143]
    assert capfd.readouterr().err.splitlines()[1:] == [
        "train.py: ended at once by SIGTERM; checkpoint-00000002 stands"
    ]


def test_it_ends_also_where_python_has_no_turn(ended):
    """As in one operation of a step that is far too large: a statement that never ends."""
    statement = "WITH RECURSIVE number(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM number) SELECT count(*) FROM number"
    database, done = sqlite3.connect(":memory:", check_same_thread=False), threading.Event()

    def ask():
        try:
            send(signal.SIGINT)
            wait_until(lambda: interruption.received)
            time.sleep(0.3)
            send(signal.SIGINT)
            wait_until(lambda: ended)
        finally:
            while not done.wait(0.01):
                database.interrupt()

    asking = threading.Thread(target=ask)
    with contextlib.closing(database), Interruption(lambda: "") as interruption:
        asking.start()
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            database.execute(statement).fetchone()
        done.set()
        asking.join()
    assert ended == [130]


def test_other_processes_of_a_run_say_nothing(ended, capfd):
    with Interruption(lambda: "", report=False) as interruption:
        send(signal.SIGINT)
        wait_until(lambda: interruption.received)
    assert capfd.readouterr().err == ""


def test_without_a_signal_everything_is_as_before():
    before = signal.getsignal(signal.SIGINT)
    with Interruption(lambda: ""):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


# The whole script


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "number", "code"),
    [
        ("process", signal.SIGTERM, 143),  # as kill, Slurm and containers send it
        ("group", signal.SIGINT, 130),  # Ctrl-C in a terminal
        ("process twice", signal.SIGINT, 130),  # the same, passed on by a launcher
    ],
)
def test_a_signal_finishes_the_step_saves_and_ends(photographs, tmp_path, target, number, code):
    workers = "data.workers=1" if target == "group" else "data.workers=0"
    with endless_training(photographs, tmp_path / "run", workers) as training:
        wait_for_steps(tmp_path / "run", 3)
        if target == "group":
            os.killpg(training.pid, number)
        for _ in range({"process": 1, "process twice": 3}.get(target, 0)):
            training.send_signal(number)
            time.sleep(0.05)  # within a second, as launchers pass them on
        _, errors = training.communicate(timeout=200)
        assert training.returncode == code, errors
    heard, stopped = errors.strip().splitlines()
    assert heard == f"train.py: {number.name}: {HEARD}"
    assert re.fullmatch(
        rf"train.py: stopped by {number.name}, the same command goes on; checkpoint-\d+ stands", stopped
    )
    checkpoint, damaged = newest_valid(tmp_path / "run")
    assert damaged == []
    last = RunLog(tmp_path / "run" / "log.jsonl").read()[-1]["step"]
    assert json.loads((checkpoint / "position.json").read_text())["step"] >= last


@pytest.mark.slow
def test_a_second_signal_ends_a_run_that_is_still_at_work(photographs, tmp_path):
    """While it gathers a batch, which takes many seconds."""
    batch = "phases.0.batches.0.batch_size=10000"
    with endless_training(photographs, tmp_path / "run", batch) as training:
        while "phase color" not in training.stdout.readline():
            assert training.poll() is None
        training.send_signal(signal.SIGINT)
        assert training.stderr.readline() == f"train.py: SIGINT: {HEARD}\n"
        time.sleep(1.5)
        assert training.poll() is None
        training.send_signal(signal.SIGINT)
        _, errors = training.communicate(timeout=200)
        assert training.returncode == 130
    assert errors == "train.py: ended at once by SIGINT; there is no checkpoint\n"
