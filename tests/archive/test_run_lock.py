"""Two runs into one folder."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from modeling_chromagan.archive import run_lock
from modeling_chromagan.archive.run_lock import lock_run, running
from modeling_chromagan.errors import SettingError

HOLD = """
import sys, time
from pathlib import Path
from modeling_chromagan.archive.run_lock import lock_run
with lock_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    monkeypatch.setattr(run_lock, "PATIENCE", 0.01)


def test_the_second_run_is_refused_until_the_first_one_ends(tmp_path):
    assert running(tmp_path) == ""
    with lock_run(tmp_path):
        said = rf"another run \(process {os.getpid()} on .+\) is writing into it"
        with pytest.raises(SettingError, match=said), lock_run(tmp_path):
            pytest.fail("both are at it")
        assert f"process {os.getpid()}" in running(tmp_path)
    assert running(tmp_path) == ""
    with lock_run(tmp_path):
        pass


def test_a_run_that_was_killed_locks_nobody_out(tmp_path):
    first = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    with first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(SettingError, match=f"process {first.pid} "), lock_run(tmp_path):
            pass
        first.send_signal(signal.SIGKILL)
    with lock_run(tmp_path):
        pass


def test_shards_share_a_folder_with_shards_alone(tmp_path):
    with lock_run(tmp_path, shared=True), lock_run(tmp_path, shared=True):
        assert running(tmp_path) == "another run"
        with pytest.raises(SettingError, match="another run is writing"), lock_run(tmp_path):
            pass
    with lock_run(tmp_path), pytest.raises(SettingError), lock_run(tmp_path, shared=True):
        pass


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(descriptor, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with lock_run(tmp_path), lock_run(tmp_path):
        assert running(tmp_path) == ""


def test_a_place_for_the_manifest_that_cannot_be_written_is_a_setting(tmp_path):
    (tmp_path / ".chromagan").touch()
    with pytest.raises(SettingError, match="cannot be written"), lock_run(tmp_path):
        pass


def test_a_full_disk_that_is_noticed_when_the_lock_is_given_back_fails_nothing(tmp_path, monkeypatch):
    close = os.close

    def full(descriptor):
        close(descriptor)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch, lock_run(tmp_path):
        patch.setattr(run_lock.os, "close", full)
    assert running(tmp_path) == ""
