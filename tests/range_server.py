"""A web server on this machine whose connections break as a test asks."""

import contextlib
import http.server
import re
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path


class RangeServer(socketserver.ThreadingTCPServer):
    """Serves a folder's index and ranges of its files, whatever folder is asked for.

    What is in `faults` happens to the next requests for ranges, what is in `index_faults` to those for the index. No
    HTTPServer, which asks for its own name: that takes seconds offline.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.faults, self.index_faults = folder, [], []
        self.requests: list[tuple[str, dict]] = []  # path and headers of those for ranges
        self.handle_error = lambda *_: None  # of a client that hung up
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        faults = self.server.faults if "Range" in self.headers else self.server.index_faults
        fault = faults.pop(0) if faults else None
        if "Range" in self.headers:
            self.server.requests.append((self.path, dict(self.headers)))
        if fault == "slow":
            time.sleep(1)
        if isinstance(fault, int):
            return self.answer(fault, b"")
        if "Range" not in self.headers:
            links = "".join(f'<a href="{path.name}">' for path in sorted(self.server.folder.iterdir()))
            return self.answer(200, links.encode())
        path = self.server.folder / self.path.rpartition("/")[2]
        if not path.is_file():
            return self.answer(404, b"")
        content = path.read_bytes()
        begin, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        place = {"Content-Range": f"bytes {begin}-{last}/{len(content)}"}
        end = last if fault == "short" else last + 1
        return self.answer(206, content[begin:end], place, broken=fault == "broken")

    def answer(self, status: int, content: bytes, headers: dict | None = None, broken: bool = False):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if broken else content)
        self.close_connection = broken

    def log_message(self, *_):
        pass


def wait_shortly(fault: object, monkeypatch) -> None:
    """Has the client give up on a "slow" answer; otherwise it waits as ever, however busy this machine is."""
    if fault == "slow":
        monkeypatch.setattr("modeling_chromagan.sources.remote_files.TIMEOUT_SECONDS", 0.5)


@contextlib.contextmanager
def serve(folder: Path, monkeypatch) -> Iterator[RangeServer]:
    """A server of a folder; waits between tries are short, and going online is allowed."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("modeling_chromagan.sources.remote_files.FIRST_WAIT_SECONDS", 0.01)
    with RangeServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
