"""A Hub on this machine: what huggingface_hub calls with HF_HUB_DISABLE_XET=1, over real HTTP, kept in memory.

It speaks: whoami-v2, repos/create and repos/delete, validate-yaml, preupload, LFS batch with upload (in one piece or
in parts) and verification, ndjson commits and pull requests, info, tree (in pages), paths-info, refs, commits,
branches, tags, resolve with ETag and ranges. As on the Hub: large and binary files are LFS, and are served and
uploaded at another host (`localhost`) that refuses tokens; a repository that one may not see answers 401 without a
token and 404 with one; a commit on an outdated parent answers 412; errors carry X-Error-Code and X-Error-Message. Not
spoken: Xet, discussions, search. Whatever else is asked for is answered 404 and kept in `LoopbackHub.unknown`.
"""

import asyncio
import dataclasses
import re
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from hub_repository import HubError, Repository
from hub_routes import READ_TOKEN, STRANGERS_TOKEN, WRITE_TOKEN, HubRoutes
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import StreamingResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

CHUNK = 65_536


class Cut(Exception):
    """The connection is to end now."""


@dataclasses.dataclass
class Entry:
    """One request, as the log keeps it: paths are as they were sent, `%2F` and all; `sent` are bytes of the body."""

    method: str
    path: str
    headers: Headers
    status: int | None = None
    received: int = 0
    sent: int = 0


@dataclasses.dataclass
class Fault:
    method: str
    pattern: str
    status: int | None
    times: int
    after_bytes: int | None
    reset: bool
    headers: dict[str, str]
    message: str
    code: str | None


class LoopbackHub:
    """The server. `endpoint` and tokens are for clients, the rest is for tests to look at and to change.

    `token` may write to what belongs to `tester` and `org`, `read_token` only read it, `strangers_token` neither.
    `requests` are all since the last `reset`, `unknown` those of them that no route answers, `spoken` is what answers.
    """

    token, read_token, strangers_token = WRITE_TOKEN, READ_TOKEN, STRANGERS_TOKEN

    def __init__(self) -> None:
        self.connections: dict[Any, asyncio.Transport] = {}
        hub = self

        class Protocol(H11Protocol):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                hub.connections[self.client] = transport

        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.reset()
        config = uvicorn.Config(self, http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self) -> "LoopbackHub":
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()

    def reset(self) -> None:
        """Forgets everything."""
        self.spoken = HubRoutes(self.endpoint, f"http://localhost:{self.port}")
        self.faults: list[Fault] = []
        self.requests: list[Entry] = []
        self.unknown: list[Entry] = []

    def fail(
        self,
        method: str,
        path_pattern: str,
        status: int | None = None,
        times: int = 1,
        after_bytes: int | None = None,
        reset: bool = False,
        headers: dict[str, str] | None = None,
        message: str = "asked for by a test",
        code: str | None = None,
    ) -> None:
        """Lets the next requests fail, before anything of them is done.

        Args:
            method: of the requests, or `"*"`.
            path_pattern: a regular expression that is searched for in their paths, queries not included.
            status: what they are answered, with `headers`, and `message` and `code` as the Hub gives its reasons.
            times: how many of them.
            after_bytes: instead of a status, ends the connection after so many bytes of the body, of the request
                where it has one, else of the response.
            reset: whether it ends by a reset, of which the client's own retries of downloads know nothing.
        """
        assert (status is None) != (after_bytes is None), "accepted: a status, or bytes to end after"
        self.faults.append(
            Fault(method, path_pattern, status, times, after_bytes, reset, headers or {}, message, code)
        )

    def repository(self, name: str, repo_type: str = "model") -> Repository:
        return self.spoken.repositories[repo_type, name]

    def files(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> dict[str, bytes]:
        """Contents by path."""
        files = self.repository(repo_id, repo_type).find(revision).files
        return {path: blob.content for path, blob in files.items()}

    def asked(self, method: str, path_pattern: str) -> list[Entry]:
        """The requests so far of this method whose paths the regular expression is found in."""
        return [entry for entry in self.requests if entry.method == method and re.search(path_pattern, entry.path)]

    # --- From a request to an answer ---------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        entry = Entry(request.method, scope["raw_path"].decode(), request.headers)
        self.requests.append(entry)
        try:
            fault = self.next_fault(entry)
            limit = fault.after_bytes if fault is not None else None
            has_body = request.headers.get("content-length", "0") != "0"
            body = await read_body(request, entry, limit if has_body else None)
            if fault is not None and fault.status is not None:
                raise HubError(fault.status, fault.message, fault.code, fault.headers)
            response = self.spoken.answer(request, entry.path, body)
            if response is None:
                self.unknown.append(entry)
                raise HubError(404, f"{entry.method} {entry.path} is not spoken here")
            if limit is not None:
                response = StreamingResponse(cut(response.body, limit), response.status_code, response.headers)
        except HubError as error:
            response = error.response
        except Cut:
            return self.cut_connection(request, fault)
        entry.status, entry.sent = response.status_code, len(getattr(response, "body", b""))
        if request.method == "HEAD":
            response.body = b""
        try:
            await response(scope, receive, send)
        except Cut:
            entry.sent = limit or 0
            while self.connections[request.scope["client"]].get_write_buffer_size():
                await asyncio.sleep(0.01)  # until the system has all that was sent
            self.cut_connection(request, fault)

    def next_fault(self, entry: Entry) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method in ("*", entry.method) and re.search(fault.pattern, entry.path):
                fault.times -= 1
                return fault
        return None

    def cut_connection(self, request: Request, fault: Fault) -> None:
        transport = self.connections[request.scope["client"]]
        if fault.reset:
            no_lingering = struct.pack("ii", 1, 0)  # closing then sends a reset
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
        transport.abort()


async def read_body(request: Request, entry: Entry, limit: int | None) -> bytes:
    """The body of a request; of one that is to fail, the connection ends after `limit` bytes of it."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        entry.received = len(body)
        if limit is not None and len(body) >= limit:
            break
    if limit is not None:
        raise Cut
    return bytes(body)


async def cut(content: bytes, limit: int) -> AsyncIterator[bytes]:
    for start in range(0, limit, CHUNK):
        yield content[start : min(limit, start + CHUNK)]
    raise Cut
