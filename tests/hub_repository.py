"""What a Hub keeps: files, commits of them, and repositories, whose branches, tags and pull requests name commits."""

import dataclasses
import hashlib
import json
import re
from typing import Any

from starlette.responses import JSONResponse

LFS_SUFFIXES = (".bin", ".onnx", ".parquet", ".pkl", ".pt", ".pth", ".safetensors", ".wasm")


class HubError(Exception):
    """An answer that is an error, with the headers by which the client tells errors apart."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        named = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {}) | (headers or {})
        self.response = JSONResponse({"error": message}, status, named)


@dataclasses.dataclass(frozen=True)
class Blob:
    content: bytes
    is_lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """Git's name of what the repository holds: the content, or the pointer to it."""
        content = self.content
        if self.is_lfs:
            size = len(content)
            content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {size}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.oid

    def describe(self, path: str) -> dict[str, Any]:
        """An entry of a tree."""
        entry = {"type": "file", "oid": self.oid, "size": len(self.content), "path": path}
        if self.is_lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclasses.dataclass(frozen=True)
class Commit:
    id: str
    title: str
    message: str
    parent: str | None
    files: dict[str, Blob]


class Repository:
    """Commits, and the branches, tags and pull requests that name some of them."""

    def __init__(self, kind: str, name: str, private: bool, sdk: str | None = None):
        self.kind, self.name, self.private, self.sdk, self.gated = kind, name, private, sdk, False
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.pull_requests: dict[str, str] = {}
        patterns = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
        self.add_commit("initial commit", "", None, {".gitattributes": Blob(patterns.encode())}, self.branches, "main")

    def add_commit(
        self, title: str, message: str, parent: str | None, files: dict[str, Blob], refs: dict[str, str], ref: str
    ) -> Commit:
        named = json.dumps([self.name, len(self.commits), title, sorted((path, files[path].oid) for path in files)])
        commit = Commit(hashlib.sha1(named.encode()).hexdigest(), title, message, parent, files)
        self.commits[commit.id] = commit
        refs[ref] = commit.id
        return commit

    def find(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a pull request, or (the beginning of) its id names."""
        refs = self.pull_requests | self.tags | self.branches
        ids = [refs[revision]] if revision in refs else []
        if not ids and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            ids = [commit for commit in self.commits if commit.startswith(revision)]
        if len(ids) != 1:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[ids[0]]


def is_text(content: bytes) -> bool:
    """Whether the beginning of a file, which may end within a character, is text."""
    return b"\0" not in content and "\ufffd" not in content.decode("utf-8", "replace")[:-3]


def folders_of(files: dict[str, Blob]) -> list[str]:
    return sorted({path[:end] for path in files for end in (m.start() for m in re.finditer("/", path))})


def describe_folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}
