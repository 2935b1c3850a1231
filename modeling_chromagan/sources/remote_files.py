"""Files of the Hub or of a web server, read by ranges of bytes; a connection that breaks is tried again."""

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urljoin

from fsspec.spec import AbstractBufferedFile
from huggingface_hub import get_session, hf_hub_url, parse_hf_uri
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers

TIMEOUT_SECONDS = 30.0  # without a byte
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 30.0  # between tries; doubled every time
NO_ACCESS = "no access; accepted: HF_TOKEN, or `hf auth login`, of an account that accepted the data set's terms"

Result = TypeVar("Result")


class RefusedError(OSError):
    """An answer that another try would not change."""


class RemoteFile(AbstractBufferedFile):
    """A file behind hf://datasets/... or http(s)://..., of which every read is one request.

    Args:
        address: of the file; only the Hub is shown the user's token.
        size: of the file in bytes; `None`: one more request asks for it.

    Raises:
        OSError: if a request fails.
    """

    def __init__(self, address: str, size: int | None = None):
        self.url, self.headers, self.refusals = address, {}, {}
        if address.startswith("hf://"):
            uri = parse_hf_uri(address)
            self.url = hf_hub_url(uri.id, uri.path_in_repo, repo_type=uri.type, revision=uri.revision)
            self.headers, self.refusals = build_hf_headers(), {401: NO_ACCESS, 403: NO_ACCESS}
        if size is None:
            size = int(self._request("0-0").headers["Content-Range"].rpartition("/")[2])
        super().__init__(None, address, cache_type="none", size=size)

    def _request(self, span: str) -> Any:
        response = get(self.url, self.headers | {"Range": f"bytes={span}"}, self.refusals)
        if response.status_code != 206:
            raise RefusedError("the server answers no range requests")
        return response

    def _fetch_range(self, start: int, end: int) -> bytes:
        content = self._request(f"{start}-{end - 1}").content
        if len(content) != end - start:
            raise OSError(f"{len(content)} of {end - start} bytes came")
        return content


def get(url: str, headers: dict[str, str] | None = None, refusals: dict[int, str] | None = None) -> Any:
    """What a server answers to one request, without another try.

    Args:
        url: of what is asked for.
        headers: of the request.
        refusals: reasons to give for an HTTP status instead of its number.

    Raises:
        RefusedError: if the server would answer the same again.
        OSError: if it is busy or out of reach.
    """
    try:
        response = get_session().get(url, headers=headers, timeout=TIMEOUT_SECONDS)
    except OfflineModeIsEnabled as error:
        raise RefusedError(str(error)) from error
    except Exception as error:  # the client's own errors share no public base
        raise OSError(f"{type(error).__name__}: {error}") from error
    status = response.status_code
    if status < 400:
        return response
    reason = (refusals or {}).get(status, f"HTTP status {status}")
    raise OSError(reason) if status >= 500 or status in (408, 429) else RefusedError(reason)


def with_retries(action: Callable[[], Result], tries: int, on_retry: Callable[[], None] = lambda: None) -> Result:
    """What `action` returns, tried again after waits that double for as long as it raises OSError.

    Raises:
        RefusedError: as `action` raises it, at once.
        OSError: once all tries failed, saying so.
    """
    started = time.monotonic()
    for number in range(tries):
        if number:
            on_retry()
            time.sleep(min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (number - 1)))
        try:
            return action()
        except RefusedError:
            raise
        except OSError as error:
            last = error
    raise OSError(f"{last}; given up after {tries} tries in {time.monotonic() - started:.0f} s") from last


def list_web_folder(address: str, tries: int) -> list[str]:
    """Addresses of the parquet files that a web server's index of a folder links to.

    Raises:
        OSError: if the server refuses or cannot be reached.
    """
    folder = address.rstrip("/") + "/"
    page = with_retries(lambda: get(folder), tries).text
    return [urljoin(folder, link) for link in sorted(set(re.findall(r'href="([^"?#]+\.parquet)"', page)))]


__all__ = ["NO_ACCESS", "RefusedError", "RemoteFile", "list_web_folder", "with_retries"]
