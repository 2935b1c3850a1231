"""The log of a run: cut back to a checkpoint, and readable whatever a kill left of it."""

import json

import pytest

from modeling_chromagan.training.run.log import RunLog


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


@pytest.mark.parametrize(
    "damage", [b'{"step": 3, "pha', b"[1, 2]\n", b"7\n", b'{"phase": "color"}\n', b"\xff\xfe\x00\n"]
)
def test_what_comes_after_a_damaged_line_is_forgotten(tmp_path, damage):
    log = RunLog(tmp_path / "log.jsonl")
    for step in (1, 2):
        log.write(step, "color", {"total": 1.0})
    with open(log.path, "ab") as file:
        file.write(damage)
    assert [line["step"] for line in log.read()] == [1, 2]
    log.truncate(2)
    log.write(3, "color", {"total": 0.5})
    assert [line["step"] for line in log.read()] == [1, 2, 3]
