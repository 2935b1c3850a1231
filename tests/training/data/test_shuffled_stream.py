"""Streamed rows: one order for everybody, a bounded pool, and connections that break."""

import functools
import http.server
import io
import json
import re
import socketserver
import threading
import time
import traceback

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets.exceptions import DatasetNotFoundError
from PIL import Image as PillowImage

from modeling_chromagan.errors import SettingError
from modeling_chromagan.training.data import parquet_files, shuffled_stream
from modeling_chromagan.training.data.batches import BatchPlan, Photographs
from modeling_chromagan.training.data.parquet_files import ParquetFiles, RowGroups, StreamError, remote_address
from modeling_chromagan.training.data.shuffled_stream import PooledOrder, StreamedRows, class_names, open_stream
from modeling_chromagan.training.data.sources import open_sources
from modeling_chromagan.training.recipe import Batches, Data, Source

UNIFORM = 94.7  # distinct ones of 200 classes among 128 pictures drawn uniformly
NAMES = ["first", "second", "third"]
IMAGE_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@functools.cache
def picture_bytes(number: int, mode: str = "RGB", size: tuple[int, int] = (40, 36)) -> bytes:
    colors = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(colors).resize(size).convert(mode).save(file, "PNG")
    return file.getvalue()


def write_parquet(path, contents: list[bytes], first: int = 0, group: int = 10) -> None:
    """A file as `datasets` writes it; the label of a row is its number."""
    features = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    images = pa.array([{"bytes": content, "path": None} for content in contents], IMAGE_TYPE)
    labels = pa.array(range(first, first + len(contents)), pa.int64())
    table = pa.table({"image": images, "label": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ninety rows in ten row groups of two files, and a validation split."""
    folder = tmp_path_factory.mktemp("streamed")
    for number, rows in enumerate((55, 35)):
        contents = [picture_bytes(i % 7) for i in range(rows)]
        write_parquet(folder / "data" / f"train-{number:05}-of-00002.parquet", contents, first=55 * number)
    write_parquet(folder / "data" / "valid-00000-of-00001.parquet", [picture_bytes(i) for i in range(7)])
    return folder


def source_of(where, **settings) -> Source:
    return Source(path=str(where), streaming=True, use_labels=True, **settings)


def open_rows(where, pool: int = 3, seed: int = 0, pool_bytes: int = 2**28, tries: int = 5) -> StreamedRows:
    source = source_of(where)
    files, groups = open_stream("tiny", str(where), source, "train", Data(sources={}, connection_tries=tries))
    return StreamedRows(files, groups, seed, pool_bytes, pool)


def labels_at(rows: StreamedRows, positions) -> list[int]:
    return [next(rows.candidates(position))["label"] for position in positions]


def row_numbers(order: PooledOrder, positions) -> np.ndarray:
    """Numbers of the rows in the groups' own sequence."""
    starts = np.cumsum(order.rows) - order.rows
    within = functools.cache(order.within)
    found = [(position // order.total, *order.at(position)[:2]) for position in positions]
    return np.array([starts[group] + within(epoch, group)[place] for epoch, group, place in found])


@pytest.mark.parametrize("pool", [1, 4, 9])
def test_every_row_once_per_epoch_in_a_new_order(pool):
    order = PooledOrder(np.array([10, 10, 3, 10, 1, 10, 10, 7, 10]), pool, seed=5)
    epochs = [row_numbers(order, range(71 * epoch, 71 * epoch + 71)).tolist() for epoch in range(3)]
    assert all(sorted(epoch) == list(range(71)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert row_numbers(PooledOrder(order.rows, pool, seed=6), range(71)).tolist() != epochs[0]
    assert order.within(0, 1).tolist() != order.within(1, 1).tolist()


def test_a_position_needs_none_before_it():
    rows = np.random.default_rng(0).integers(1, 30, 40)
    whole = PooledOrder(rows, 6, seed=1)
    positions = [0, 17, whole.total - 1, whole.total, 5 * whole.total + 100]
    straight = row_numbers(whole, range(whole.total))
    for position in positions:
        alone = row_numbers(PooledOrder(rows, 6, seed=1), [position])
        assert alone == row_numbers(whole, [position])
    assert row_numbers(PooledOrder(rows, 6, seed=1), [17]) == straight[17]


def test_rows_come_from_a_pool_that_changes_by_one_group():
    order = PooledOrder(np.full(30, 50), 8, seed=0)
    groups = np.array([order.at(position)[0] for position in range(order.total)])
    for start in range(0, 1500, 50):
        mixed = len(set(groups[start : start + 50]))  # a slot has 50 rows, a few more or less by rounding
        assert 8 <= mixed <= 9, "from the first rows of an epoch to its last"
    for group in range(30):
        places = np.flatnonzero(groups == group)
        gaps = np.diff(np.append(places, places[0] + 1500))
        assert 1500 - gaps.max() <= 8 * 50 + 10, "a group's rows lie within its stretch, on the circle"
        dropped = {order.at(int(place))[2] for place in places}
        assert len(dropped) <= 2


def distinct_classes(labels: np.ndarray) -> np.ndarray:
    batches = labels[: len(labels) // 128 * 128].reshape(-1, 128)
    return np.array([len(np.unique(batch)) for batch in batches])


def test_a_sorted_data_set_is_mixed():
    order = PooledOrder(np.full(100, 1000), 70, seed=0)
    found = distinct_classes(row_numbers(order, range(25_600)) // 500)
    assert found.mean() >= 0.85 * UNIFORM
    assert np.sort(found)[: len(found) // 20].mean() >= 0.75 * UNIFORM
    alone = distinct_classes(row_numbers(PooledOrder(order.rows, 1, seed=0), range(25_600)) // 500)
    assert alone.mean() < 5


def test_tiny_imagenet_is_mixed_by_the_default_pool(data_root):
    where = str(data_root / "tiny-imagenet")
    settings = Data(sources={})
    files, groups = open_stream("tiny", where, source_of(where), "train", settings)
    labels = np.concatenate([pq.read_table(file, columns=["label"])["label"].to_numpy() for file in files.files])
    assert (np.diff(labels) >= 0).all(), "sorted by class"
    rows = StreamedRows(files, groups, 0, settings.pool_mebibytes * 2**20)
    found = distinct_classes(labels[row_numbers(rows.order, range(len(rows)))])
    print(f"{rows.describe()}; distinct classes: {found.mean():.1f}, worst 5 %: {np.sort(found)[:39].mean():.1f}")
    assert len(rows) == 100_000
    assert found.mean() >= 0.85 * UNIFORM


def test_reading_goes_through_the_groups_once(folder):
    rows = open_rows(folder, pool=3)
    assert sorted(labels_at(rows, range(90))) == list(range(90))
    assert rows.groups_read == 10, "all of them still fit"
    small = open_rows(folder, pool=3, pool_bytes=int(6.5 * rows.groups.sizes.max()))
    assert labels_at(small, range(90)) == labels_at(rows, range(90))
    assert 10 <= small.groups_read <= 12, "two of them lie on both sides of the epoch's end"
    assert small.held_bytes <= small.pool_bytes


def test_a_resumed_run_reads_the_pool_only(folder):
    whole = labels_at(open_rows(folder), range(90))
    late = open_rows(folder)
    assert labels_at(late, range(60, 66)) == whole[60:66]
    assert late.groups_read <= 4


def test_memory_does_not_grow_with_the_data(tmp_path):
    write_parquet(tmp_path / "train.parquet", [picture_bytes(i % 9) for i in range(100)])
    held = []
    for times in (1, 10):
        files = ParquetFiles("tiny", [str(tmp_path / "train.parquet")] * times, ["image", "label"], 1)
        groups = files.row_groups()
        rows = StreamedRows(files, groups, 0, 8 * int(groups.sizes.max()))
        most = 0
        for position in range(0, len(rows), 3):
            next(rows.candidates(position))
            most = max(most, rows.held_bytes)
        held.append(most)
        assert rows.order.pool == 6, rows.describe()
        assert most <= rows.pool_bytes
    assert len(rows) == 1000
    assert held[1] <= 1.1 * held[0]


@pytest.mark.parametrize("times", [1, 10])
def test_start_takes_no_longer_than_the_metadata(times):
    """ImageNet-1k as the Hub has it: 1,281,167 rows of about 110 kB, a hundred to a row group."""
    count = 12_812 * times
    sizes = np.random.default_rng(0).integers(8 * 2**20, 13 * 2**20, count)
    groups = RowGroups(np.zeros(count, dtype=int), np.arange(count), np.full(count, 100), sizes)
    started = time.process_time()
    rows = StreamedRows(None, groups, 0, 256 * 2**20)
    rows.order.at(len(rows) // 2)
    assert time.process_time() - started < 1
    assert rows.order.pool * sizes.max() <= 256 * 2**20
    assert f"mixed from {rows.order.pool} groups at a time" in rows.describe()


def test_a_row_group_larger_than_the_pool_is_said(folder):
    rows = open_rows(folder, pool_bytes=100)
    assert rows.order.pool == 1
    assert "warning: one row group takes more than data.pool_mebibytes" in rows.describe()
    assert sorted(labels_at(rows, range(90))) == list(range(90))


def plan_of(photographs: Photographs, rank: int = 0, ranks: int = 1) -> BatchPlan:
    kinds = [Batches(size=32, batch_size=12, weights={"tiny": 1}), Batches(size=64, batch_size=6, weights={"tiny": 1})]
    return BatchPlan({"tiny": photographs}, kinds, 10, seed=0, rank=rank, ranks=ranks)


def photographs_of(where, pool: int = 3) -> Photographs:
    return Photographs(open_rows(where, pool), source_of(where), Data(sources={}))


def test_processes_and_workers_share_one_order(folder):
    """Two processes of two data workers see together what one process sees, every picture once per epoch."""
    plan = plan_of(photographs_of(folder))
    whole = [plan[step] for step in range(len(plan))]
    assert sorted(torch.cat([batch["label"] for batch in whole]).tolist()) == list(range(90))
    shares = [
        list(torch.utils.data.DataLoader(plan_of(photographs_of(folder), rank, 2), batch_size=None, num_workers=2))
        for rank in range(2)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        rgb, labels = torch.empty_like(batch["rgb"]), torch.empty_like(batch["label"])
        for part in parts:
            rgb[part["rows"]], labels[part["rows"]] = part["rgb"], part["label"]
        assert torch.equal(rgb, batch["rgb"])
        assert torch.equal(labels, batch["label"])


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    """Three row groups of ten; the first has five pictures that are of no use."""
    folder = tmp_path_factory.mktemp("flawed")
    bad = [
        picture_bytes(0, "L"),
        picture_bytes(1, "L"),
        b"none",
        picture_bytes(3)[:99],
        picture_bytes(4, size=(40, 31)),
    ]
    write_parquet(folder / "train.parquet", bad + [picture_bytes(i) for i in range(25)])
    return folder / "train.parquet"


def test_skipped_places_are_taken_within_the_row_group_and_counted(flawed):
    photographs = photographs_of(flawed)
    order = photographs.data.order
    numbers = row_numbers(order, range(30))
    for position, number in enumerate(numbers):
        label = photographs.picture(position)[1]
        assert label == number if number >= 5 else 5 <= label < 10
        if number < 5:  # the next good one in the seeded order of its group
            own = order.within(0, 0).tolist()
            following = own[own.index(number) :] + own[: own.index(number)]
            assert label == next(row for row in following if row >= 5)
    assert dict(photographs.rejected) == {"broken": 2, "tiny": 1, "grayscale": 2, "almost gray": 0, "toned": 0}


def test_counts_of_data_workers_arrive(flawed):
    photographs = photographs_of(flawed)
    plan = BatchPlan({"tiny": photographs}, [Batches(size=32, batch_size=10, weights={"tiny": 1})], 3, 0, 0, 1)
    list(torch.utils.data.DataLoader(plan, batch_size=None, num_workers=2))
    assert dict(photographs.rejected) == {"broken": 2, "tiny": 1, "grayscale": 2, "almost gray": 0, "toned": 0}
    photographs.rejected.update({"broken": 3, "unheard of": 1})
    assert photographs.rejected["broken"] == 5


def test_a_row_group_without_a_good_picture_ends_with_one_line(tmp_path):
    write_parquet(tmp_path / "train.parquet", [picture_bytes(i, "L") for i in range(4)])
    with pytest.raises(SettingError, match="4 pictures in a row are unsuitable, the last one grayscale"):
        photographs_of(tmp_path / "train.parquet").picture(0)


def test_first_rows_of_a_stream(folder):
    source = source_of(folder, max_samples=25)
    files, groups = open_stream("tiny", str(folder), source, "train", Data(sources={}))
    rows = StreamedRows(files, groups, 0, 2**28)
    assert sorted(labels_at(rows, range(25))) == list(range(25))


def test_streams_are_opened_with_size_names_and_validation(folder, capsys):
    settings = Data(sources={"tiny": source_of(folder)}, validation={"split": "valid", "samples": 5})
    photographs, validation, names = open_sources(settings, seed=0)
    assert photographs["tiny"].size == 90
    assert names == NAMES
    assert len(validation) == 5
    line = f"data: tiny streamed from {folder}: 90 rows in 10 row groups, mixed from 10 groups at a time, 90 rows"
    assert line in capsys.readouterr().out
    again = open_sources(settings, seed=0)[0]["tiny"]
    assert [again.picture(i)[1] for i in range(5)] == [photographs["tiny"].picture(i)[1] for i in range(5)]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"split": "test"}, r"split 'test' is none; accepted: train, valid"),
        ({"image_column": "photo"}, r"image_column is 'photo'; accepted: one of image, label"),
        ({"label_column": "class"}, r"label_column is 'class'; accepted: one of image, label"),
    ],
)
def test_wrong_streams_are_named(folder, change, line):
    settings = Data(sources={"tiny": source_of(folder, **change)}, validation={"split": "valid"})
    with pytest.raises(SettingError, match=rf"^data\.sources\.tiny.*{line}$"):
        open_sources(settings, seed=0)


def test_folders_of_pictures_are_not_streamed(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "1.png").write_bytes(picture_bytes(1))
    with pytest.raises(SettingError, match=r"is not made of parquet files; accepted: streaming: false$"):
        open_sources(Data(sources={"tiny": Source(path=str(tmp_path), streaming=True)}), seed=0)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no parquet file")
    with pytest.raises(SettingError, match=r"^data\.sources\.tiny: .*train\.parquet: .*[Pp]arquet"):
        open_rows(tmp_path / "train.parquet")


class Server(socketserver.ThreadingTCPServer):
    """Serves a folder's index and ranges of its files; what is in `faults` happens to the next requests for ranges.

    No HTTPServer, which asks for its own name: that takes seconds offline.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.faults, self.headers_seen, self.requests = folder, [], [], 0
        self.index_faults = []
        self.handle_error = lambda *_: None  # of a client that hung up
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        span = self.headers.get("Range")
        if span is None:
            fault = self.server.index_faults.pop(0) if self.server.index_faults else None
            if fault == "slow":
                time.sleep(1)
            if isinstance(fault, int):
                return self.answer(fault, b"")
            links = "".join(f'<a href="{path.name}">' for path in sorted(self.server.folder.iterdir()))
            return self.answer(200, links.encode())
        self.server.requests += 1
        self.server.headers_seen.append(dict(self.headers))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            return self.answer(fault, b"")
        if fault == "slow":
            time.sleep(1)
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            return self.answer(404, b"")
        content = path.read_bytes()
        first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", span).groups()
        begin = int(first) if first else max(0, len(content) - int(last))
        end = int(last) + 1 if first else len(content)
        extra = {"Content-Range": f"bytes {begin}-{end - 1}/{len(content)}"}
        end -= fault == "short"
        return self.answer(206, content[begin:end], extra, broken=fault == "broken")

    def answer(self, status, content, extra=None, broken=False):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **(extra or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if broken else content)
        self.close_connection = broken

    def log_message(self, *_):
        pass


@pytest.fixture
def server(folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(parquet_files, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(parquet_files, "TIMEOUT_SECONDS", 0.5)
    server = Server(folder / "data")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_http_gives_the_rows_of_the_local_files(server, folder, monkeypatch):
    monkeypatch.setattr(parquet_files, "FOOTER_BYTES", 64)  # so that footers take a second request
    rows = open_rows(server.url)
    assert class_names(rows.files, server.url, "label") == NAMES
    assert labels_at(rows, range(90)) == labels_at(open_rows(folder), range(90))
    assert server.requests == 2 * 2 + 10, "two per footer, one per row group"
    local = next(open_rows(folder).candidates(4))
    assert next(rows.candidates(4)) == local
    assert rows.files.counts["connection retries"] == 0
    one = open_rows(server.url + "train-00000-of-00002.parquet")
    assert sorted(labels_at(one, range(55))) == list(range(55))
    assert photographs_of(server.url).remote
    assert not photographs_of(folder).remote


@pytest.mark.parametrize("fault", [500, 429, "slow"])
def test_an_index_is_asked_for_again(server, folder, fault):
    server.index_faults = [fault]
    assert len(open_rows(server.url)) == len(open_rows(str(folder / "data")))
    assert server.index_faults == []


def test_an_index_that_is_refused_is_named(server):
    server.index_faults = [403] * 9
    with pytest.raises(SettingError, match="HTTP status 403"):
        open_rows(server.url)
    assert len(server.index_faults) == 8, "a refusal is not asked for again"


@pytest.mark.parametrize("fault", ["broken", "short", "slow", 500, 503, 429])
def test_a_bad_connection_is_tried_again_and_counted(server, folder, fault):
    photographs = photographs_of(server.url)
    server.faults = [fault, fault]
    assert photographs.picture(0)[1] == photographs_of(folder).picture(0)[1]
    assert photographs.retries == 2


def test_a_dead_connection_ends_with_one_line(server):
    rows = open_rows(server.url, tries=3)
    server.faults = [503] * 50
    with pytest.raises(StreamError) as caught:
        next(rows.candidates(0))
    line = str(caught.value)
    assert re.match(
        r"data\.sources\.tiny: http://127.*\.parquet: HTTP status 503; given up after 3 tries in \d+ s$", line
    )
    assert rows.files.counts["connection retries"] == 2
    server.faults = []
    next(rows.candidates(0))  # nothing is left half read


def test_waits_grow(server, monkeypatch):
    waits = []
    rows = open_rows(server.url, tries=8)
    monkeypatch.setattr(parquet_files.time, "sleep", waits.append)
    monkeypatch.setattr(parquet_files, "FIRST_WAIT_SECONDS", 1.0)
    server.faults = [500] * 8
    with pytest.raises(StreamError):
        next(rows.candidates(0))
    assert waits == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (401, r"no access without a token; accepted: HF_TOKEN, or `hf auth login`"),
        (403, r"the token's account has no access; accepted: HF_TOKEN of an account"),
        (404, r"HTTP status 404"),
        (200, r"the server answers no range requests"),
    ],
)
def test_a_refusal_is_not_tried_again(server, fault, line):
    server.faults = [fault]
    with pytest.raises(SettingError, match=rf"^data\.sources\.tiny: http://127[^ ]*\.parquet: {line}"):
        open_rows(server.url)
    assert server.requests == 1


def test_a_server_that_is_gone_is_named(server):
    server.shutdown()
    with pytest.raises(SettingError, match=r"^data\.sources\.tiny: http://127\.0\.0\.1:1/: \w+"):
        open_rows("http://127.0.0.1:1/")


def test_an_error_in_a_data_worker_is_still_one_line(folder, tmp_path):
    (tmp_path / "train.parquet").write_bytes((folder / "data" / "train-00000-of-00002.parquet").read_bytes())
    photographs = photographs_of(tmp_path / "train.parquet")
    (tmp_path / "train.parquet").unlink()
    plan = plan_of(photographs)
    loader = torch.utils.data.DataLoader(plan, batch_size=None, sampler=range(1), num_workers=1)
    with pytest.raises(StreamError) as caught:
        next(iter(loader))
    # The frames hold the loader, whose end waits for its worker: else that happens in whichever thread collects
    # garbage next, in a server of a later test for one.
    traceback.clear_frames(caught.tb)
    assert re.match(r"data\.sources\.tiny: .*train\.parquet: .*No such file", str(caught.value))
    assert "Traceback" not in str(caught.value)


def test_a_gated_data_set_names_the_token(monkeypatch):
    def refuse(path):
        raise DatasetNotFoundError(
            "Dataset 'ILSVRC/imagenet-1k' is a gated dataset on the Hub. You must be authenticated to access it."
        )

    monkeypatch.setattr(shuffled_stream, "load_dataset_builder", refuse)
    settings = Data(sources={"imagenet": Source(path="ILSVRC/imagenet-1k", streaming=True)})
    with pytest.raises(
        SettingError, match=r"^data\.sources\.imagenet: ILSVRC/imagenet-1k: gated .*HF_TOKEN"
    ) as caught:
        open_sources(settings, seed=0)
    assert "\n" not in str(caught.value)


def test_only_the_hub_is_shown_the_token(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    open_rows(server.url)
    assert not any("hf_secret" in str(headers) for headers in server.headers_seen)
    url, headers = remote_address("hf://datasets/ILSVRC/imagenet-1k@49e2ee26/data/train-00000-of-00294.parquet")
    assert url.endswith("/datasets/ILSVRC/imagenet-1k/resolve/49e2ee26/data/train-00000-of-00294.parquet")
    assert "hf_secret" in headers["authorization"]
