"""A folder becomes one commit of a repository on the Hub; whatever goes wrong is one line that says what to do.

The same folder again makes no commit. After an interruption the same command goes on: what the Hub has received is not
sent again, and nothing of it was visible before the commit.
"""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import disable_progress_bars, logging, validate_repo_id

from ..errors import UserError, one_line
from .release_folder import list_files

AGAIN = "run the same command again, what was sent is not sent again"
KEPT = ".gitattributes"  # the Hub's own


class UploadError(UserError):
    """Something could not be published; the message is one line that says what to do about it."""


@dataclass(frozen=True)
class Published:
    """Where something is now, and whether this upload changed it."""

    url: str
    commit: str
    changed: bool


def check_repo_id(option: str, repo_id: str) -> None:
    """Raises UploadError unless it is OWNER/NAME as the Hub accepts it."""
    try:
        validate_repo_id(repo_id)
        accepted = repo_id.count("/") == 1
    except HFValidationError:
        accepted = False
    if not accepted:
        raise UploadError(
            f"{option} {repo_id}: is no repository; accepted: OWNER/NAME of letters, digits, '-', '_' and '.', at "
            "most 96 of them"
        )


def find_token() -> str:
    """The token of `hf auth login`, or HF_TOKEN.

    Raises:
        UploadError: if there is none, or the Hub is not to be asked.
    """
    if constants.is_offline_mode():
        raise UploadError("HF_HUB_OFFLINE is set; accepted: uploads without it, or --dry-run")
    token = get_token()
    if not token:
        raise UploadError("no token: run `hf auth login` once, or set HF_TOKEN to a token with write access")
    return token


def upload_folder(
    folder: Path,
    repo_id: str,
    token: str,
    message: str,
    belongs: Callable[[PurePosixPath], bool] | None = None,
    repo_type: str = "model",
    private: bool = False,
    revision: str | None = None,
    **space: Any,
) -> Published:
    """Makes a repository, or a branch of it, hold the files of a folder, in one commit.

    Args:
        folder: all of its files are published.
        repo_id: OWNER/NAME; made if it is missing.
        token: with write access; it appears in no message.
        message: of the commit.
        belongs: whether a file of the repository is one of ours, which goes when it is no longer in the folder; `None`
            is all of them.
        repo_type: `"model"` or `"space"`.
        private: whether the repository is made private; one that is public is refused.
        revision: branch; made if it is missing.
        space: `space_sdk` and `space_hardware` of a Space that is made.

    Raises:
        UploadError: naming the repository, what the Hub said and what to do.
    """
    api = HfApi(token=token)  # at HF_ENDPOINT, if that is set
    kind: dict[str, Any] = {"repo_id": repo_id, "repo_type": repo_type}
    where = repo_id if revision is None else f"{repo_id}, branch {revision}"
    logging.set_verbosity_error()  # its warnings are for programmers
    disable_progress_bars()
    with one_line_errors(where, api.endpoint, token), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        url = str(api.create_repo(**kind, private=private or None, exist_ok=True, **space))
        if private and not api.repo_info(**kind).private:
            raise UploadError(
                f"{repo_id} is there and public, and --private is given; accepted: a new name, or its settings "
                f"changed to private at {url}/settings"
            )
        if revision is not None:
            api.create_branch(**kind, branch=revision, exist_ok=True)
        head = api.repo_info(**kind, revision=revision).sha
        there = {PurePosixPath(file) for file in api.list_repo_files(**kind, revision=head)}
        files = list_files(folder)
        stale = sorted(path for path in there - set(files) if path.name != KEPT and (belongs is None or belongs(path)))
        operations = [CommitOperationAdd(str(path), str(folder / path)) for path in files]
        commit = api.create_commit(
            **kind,
            operations=[*operations, *(CommitOperationDelete(str(path)) for path in stale)],
            commit_message=message,
            revision=revision,
            parent_commit=head,  # who commits in between is noticed, not overwritten
        )
    return Published(url, commit.oid, commit.oid != head)


@contextlib.contextmanager
def one_line_errors(where: str, endpoint: str, token: str) -> Iterator[None]:
    """Inside it whatever the Hub, the network or the client says becomes an UploadError that says what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the client's own checks of names and cards, too
        raise UploadError(without_token(f"{where}: {explain(error, endpoint)}", token)) from None


def explain(error: Exception, endpoint: str) -> str:
    """What went wrong, from what the client raised or what caused that, and what to do."""
    causes = list(chain(error))
    for cause in causes:
        if isinstance(cause, HfHubHTTPError):
            return explain_status(cause, endpoint)
    for cause in causes:
        if isinstance(cause, HTTPError | ConnectionError | TimeoutError):
            return f"{endpoint} cannot be reached ({type(cause).__name__}): check the network, then {AGAIN}"
    return f"{one_line(causes[-1], 300)}; {AGAIN}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, what caused that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def explain_status(error: HfHubHTTPError, endpoint: str) -> str:
    """What an answer of the Hub means to whoever wants to publish, and what to do."""
    status, said = error.response.status_code, one_line(error.server_message or "", 200)
    what = {
        400: "the Hub does not accept what was sent",
        401: f"the Hub does not know this token (401): run `hf auth login`, or set HF_TOKEN to one from {endpoint}"
        "/settings/tokens",
        402: "the Hub wants a subscription for a Space on this hardware (402): accepted without one are "
        "--space-hardware zero-a10g and --browser-space, whose page runs in the visitor's browser",
        403: "this token may not write there (403): use one with write access to it, made by a member of the "
        f"organization, from {endpoint}/settings/tokens",
        404: "is not there, or hidden from this token (404): check the name, and that the token's owner may see it",
        409: f"somebody else is changing it at this moment (409): wait, then {AGAIN}",
        412: f"somebody else has changed it meanwhile (412): {AGAIN}",
        413: "the Hub finds a file too large (413): see its storage limits",
        429: f"the Hub has had too many requests (429): wait {retry_after(error)}, then {AGAIN}",
    }.get(status)
    if what is None:
        trouble = "the Hub has trouble" if status >= 500 else "the Hub refuses"
        what = f"{trouble} ({status}): {'wait, then ' if status >= 500 else ''}{AGAIN}"
    return f"{what}; it says: {said}" if said and status < 500 else what


def retry_after(error: HfHubHTTPError) -> str:
    seconds = error.response.headers.get("retry-after", "")
    return f"{seconds} seconds" if seconds.isdigit() else "a few minutes"


def without_token(text: str, token: str) -> str:
    """A message without any token in it, this one or another."""
    return re.sub(r"\bhf_\w{6,}", "[token]", text.replace(token, "[token]") if token else text)


__all__ = ["Published", "UploadError", "check_repo_id", "find_token", "upload_folder"]
