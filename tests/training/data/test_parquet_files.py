"""Parquet files, local or remote: what their metadata says, row groups, connections that break."""

import re
import traceback

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from drawn_pictures import picture_bytes, write_row_groups
from range_server import serve, wait_shortly
from streams import labels_at, open_rows, streamed_photographs

from modeling_chromagan.training.data import parquet_files
from modeling_chromagan.training.data.batches import BatchPlan
from modeling_chromagan.training.data.parquet_files import ParquetFiles, StreamError
from modeling_chromagan.training.recipe import Batches


@pytest.fixture
def server(stream_folder, monkeypatch):
    with serve(stream_folder / "data", monkeypatch) as server:
        yield server


def test_http_gives_the_rows_of_the_local_files(server, stream_folder):
    rows, local = open_rows(server.url), open_rows(stream_folder)
    assert labels_at(rows, range(90)) == labels_at(local, range(90))
    assert len(server.requests) == 2 * 2 + 10, "length and metadata of two files, and one for each row group"
    assert list(rows.rows(range(90))) == list(local.rows(range(90)))
    assert rows.retries == 0
    one = open_rows(server.url + "train-00000-of-00002.parquet")
    assert sorted(labels_at(one, range(55))) == list(range(55))
    assert rows.remote
    assert not local.remote


def test_only_the_columns_that_are_read_are_fetched(tmp_path, monkeypatch):
    columns = {"image": [b"i" * 2000] * 40, "mask": [b"m" * 90_000] * 40, "label": list(range(40))}
    pq.write_table(
        pa.table(columns), tmp_path / "a.parquet", row_group_size=20, use_dictionary=False, compression="none"
    )
    with serve(tmp_path, monkeypatch) as server:
        files = ParquetFiles("tiny", [server.url + "a.parquet"], ["image", "label"], 1)
        assert files.row_groups().rows.tolist() == [20, 20]
        assert files.row_group(0, 1)["label"].to_pylist() == list(range(20, 40))
        spans = [re.findall(r"\d+", headers["Range"]) for _, headers in server.requests[2:]]
    assert len(spans) == 2, "the mask lies between them"
    assert sum(int(last) - int(first) for first, last in spans) < 50_000


@pytest.mark.parametrize("fault", ["broken", "short", "slow", 500, 503, 429])
def test_a_bad_connection_is_tried_again_and_counted(server, stream_folder, fault, monkeypatch):
    wait_shortly(fault, monkeypatch)
    photographs = streamed_photographs(server.url)
    server.faults = [fault, fault]
    assert photographs.picture(0)[1] == streamed_photographs(stream_folder).picture(0)[1]
    assert photographs.retries == 2


def test_a_dead_connection_ends_with_one_line(server):
    rows = open_rows(server.url, tries=3)
    server.faults = [503] * 50
    with pytest.raises(StreamError) as caught:
        labels_at(rows, [0])
    line = r"data\.sources\.tiny: http://127.*\.parquet: HTTP status 503; given up after 3 tries in \d+ s$"
    assert re.match(line, str(caught.value))
    assert rows.retries == 2
    server.faults = []
    labels_at(rows, [0])  # nothing is left half read


@pytest.mark.parametrize(("fault", "line"), [(404, "HTTP status 404"), (200, "the server answers no range requests")])
def test_a_refusal_is_not_tried_again(server, fault, line):
    server.faults = [fault]
    with pytest.raises(StreamError, match=rf"^data\.sources\.tiny: http://127[^ ]*\.parquet: {line}$"):
        open_rows(server.url)
    assert len(server.requests) == 1


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no parquet file")
    with pytest.raises(StreamError, match=r"^data\.sources\.tiny: .*train\.parquet: .*[Pp]arquet"):
        open_rows(tmp_path / "train.parquet")


def test_a_damaged_remote_file_is_not_asked_for_again(tmp_path, monkeypatch):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no parquet file")
    with serve(tmp_path, monkeypatch) as server:
        with pytest.raises(StreamError, match=r"train\.parquet: .*[Pp]arquet"):
            open_rows(server.url + "train.parquet")
        assert len(server.requests) == 2


def test_a_file_that_lacks_a_column_is_named(tmp_path):
    write_row_groups(tmp_path / "1.parquet", [picture_bytes(1)])
    pq.write_table(pa.table({"image": [b""]}), tmp_path / "2.parquet")
    files = ParquetFiles("tiny", [str(tmp_path / name) for name in ("1.parquet", "2.parquet")], ["image", "label"], 1)
    with pytest.raises(StreamError, match=r"^data\.sources\.tiny: .*2\.parquet: no column label$"):
        files.row_groups()


def test_metadata_is_kept_up_to_a_bound(stream_folder, monkeypatch):
    paths = sorted(map(str, (stream_folder / "data").iterdir()))
    whole = ParquetFiles("tiny", paths, ["image"], 1)
    whole.row_groups()
    assert len(whole.kept) == 3
    monkeypatch.setattr(parquet_files, "METADATA_KEPT", 100)
    small = ParquetFiles("tiny", paths, ["image"], 1)
    small.row_groups()
    assert list(small.kept) == [2]
    assert small.kept_bytes == small.kept[2].serialized_size
    assert small.row_group(0, 0) == whole.row_group(0, 0)


def test_an_error_in_a_data_worker_is_still_one_line(stream_folder, tmp_path):
    (tmp_path / "train.parquet").write_bytes((stream_folder / "data" / "train-00000-of-00002.parquet").read_bytes())
    photographs = streamed_photographs(tmp_path / "train.parquet")
    (tmp_path / "train.parquet").unlink()
    plan = BatchPlan({"tiny": photographs}, [Batches(size=32, batch_size=12, weights={"tiny": 1})], 1, 0, 0, 1)
    loader = torch.utils.data.DataLoader(plan, batch_size=None, sampler=range(1), num_workers=1)
    with pytest.raises(StreamError) as caught:
        next(iter(loader))
    # The frames hold the loader, whose end waits for its worker: else that happens in whichever thread collects
    # garbage next, in a server of a later test for one.
    traceback.clear_frames(caught.tb)
    assert re.match(r"data\.sources\.tiny: .*train\.parquet: .*No such file", str(caught.value))
    assert "Traceback" not in str(caught.value)


def test_data_workers_read_remote_files(server, stream_folder):
    """Forked after the process itself read from the server."""
    kinds = [Batches(size=32, batch_size=6, weights={"tiny": 1})]
    plan = BatchPlan({"tiny": streamed_photographs(server.url)}, kinds, 4, 0, 0, 1)
    server.faults = ["broken"]
    batches = list(torch.utils.data.DataLoader(plan, batch_size=None, num_workers=2))
    local = BatchPlan({"tiny": streamed_photographs(stream_folder)}, kinds, 4, 0, 0, 1)
    assert all(torch.equal(batch["rgb"], local[step]["rgb"]) for step, batch in enumerate(batches))
    assert plan.photographs["tiny"].retries == 1
