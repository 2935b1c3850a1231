"""Remote files: ranges, retries, refusals, and who is shown the token."""

import re

import pytest
from range_server import serve, wait_shortly

from modeling_chromagan.sources import remote_files
from modeling_chromagan.sources.remote_files import RefusedError, RemoteFile, get, list_web_folder, with_retries

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "train-0.parquet").write_bytes(CONTENT)
    (tmp_path / "notes.txt").write_text("")
    with serve(tmp_path, monkeypatch) as server:
        yield server


def test_every_read_is_one_request(server):
    file = RemoteFile(server.url + "train-0.parquet")
    assert file.size == len(CONTENT)
    file.seek(300)
    assert file.read(1000) == CONTENT[300:1300]
    file.seek(-7, 2)
    assert file.read(7) == CONTENT[-7:]
    assert [headers["Range"] for _, headers in server.requests] == ["bytes=0-0", "bytes=300-1299", "bytes=10233-10239"]
    again = RemoteFile(server.url + "train-0.parquet", len(CONTENT))
    assert again.read(3) == CONTENT[:3]
    assert len(server.requests) == 4, "who knows the size does not ask for it"


@pytest.mark.parametrize("fault", ["broken", "short", "slow", 500, 503, 429, 408])
def test_a_bad_connection_is_tried_again(server, fault, monkeypatch):
    wait_shortly(fault, monkeypatch)
    file = RemoteFile(server.url + "train-0.parquet", len(CONTENT))
    server.faults = [fault, fault]
    retries = []

    def read() -> bytes:
        file.seek(0)
        return file.read(100)

    assert with_retries(read, 3, lambda: retries.append(1)) == CONTENT[:100]
    assert len(retries) == 2


def test_waits_double_and_tries_end(server, monkeypatch):
    waits = []
    monkeypatch.setattr(remote_files.time, "sleep", waits.append)
    monkeypatch.setattr(remote_files, "FIRST_WAIT_SECONDS", 1.0)
    server.index_faults = [500] * 9
    with pytest.raises(OSError, match=r"^HTTP status 500; given up after 8 tries in \d+ s$"):
        with_retries(lambda: get(server.url), 8)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert len(server.index_faults) == 1


@pytest.mark.parametrize(
    ("fault", "line"),
    [(401, "HTTP status 401"), (404, "HTTP status 404"), (200, "the server answers no range requests")],
)
def test_a_refusal_is_not_tried_again(server, fault, line):
    server.faults = [fault] * 3
    with pytest.raises(RefusedError, match=rf"^{line}$"):
        with_retries(lambda: RemoteFile(server.url + "train-0.parquet"), 3)
    assert len(server.requests) == 1


@pytest.fixture
def hub(server, monkeypatch):
    """The server in place of the Hub, for a user with a token."""
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        server.url + "{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return server


ON_HUB = "hf://datasets/ILSVRC/imagenet-1k@refs%2Fconvert%2Fparquet/data/train-0.parquet"


def test_only_the_hub_is_shown_the_token(hub):
    assert RemoteFile(ON_HUB).read(9) == CONTENT[:9]
    RemoteFile(hub.url + "train-0.parquet").read(9)
    path = "/datasets/ILSVRC/imagenet-1k/resolve/refs%2Fconvert%2Fparquet/data/train-0.parquet"
    assert [path for path, _ in hub.requests] == [path, path, "/train-0.parquet", "/train-0.parquet"]
    shown = ["hf_secret" in str(headers) for _, headers in hub.requests]
    assert shown == [True, True, False, False]


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_data_set_names_the_token(hub, status):
    hub.faults = [status]
    with pytest.raises(RefusedError, match=r"^no access; accepted: HF_TOKEN, or `hf auth login`, of an account that"):
        RemoteFile(ON_HUB)


def test_a_server_that_is_gone_is_named(server):
    with pytest.raises(OSError, match=r"^Connect\w+: .*; given up after 2 tries") as caught:
        with_retries(lambda: RemoteFile("http://127.0.0.1:1/train-0.parquet"), 2)
    assert not isinstance(caught.value, RefusedError)


def test_offline_nothing_is_tried_again(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RefusedError, match=re.compile("offline", re.IGNORECASE)):
        with_retries(lambda: RemoteFile(server.url + "train-0.parquet"), 3)


@pytest.mark.parametrize("fault", [None, 500, 429, "slow"])
def test_a_folder_is_its_parquet_files(server, fault, monkeypatch):
    wait_shortly(fault, monkeypatch)
    server.index_faults = [fault]
    assert list_web_folder(server.url, 2) == [server.url + "train-0.parquet"]
