"""What the loopback Hub of `hub_server.py` speaks: a route for each thing that huggingface_hub asks for."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from hub_cards import check_card, front_matter
from hub_repository import LFS_SUFFIXES, Blob, Commit, HubError, Repository, describe_folder, folders_of, is_text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

DATE = "2026-01-02T03:04:05.000Z"
LARGEST_REGULAR_FILE = 10_000_000
WRITE_TOKEN, READ_TOKEN, STRANGERS_TOKEN = "hf_loopbackwrite", "hf_loopbackread", "hf_loopbackstranger"
TOKENS = {  # token: user, organizations, role
    WRITE_TOKEN: ("tester", ("org",), "write"),
    READ_TOKEN: ("tester", ("org",), "read"),
    STRANGERS_TOKEN: ("stranger", (), "write"),
}


Handler = Callable[..., Response]
ROUTES: list[tuple[str, re.Pattern, Handler]] = []
API = r"/api/(?P<kind>model|dataset|space)s/(?P<name>[^/]+/[^/]+)"
REVISION = r"/(?P<revision>[^/]+)"
WEB = r"/(?:(?P<kind>dataset|space)s/)?(?P<name>[^/]+/[^/]+?)"


def route(methods: str, pattern: str) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        ROUTES.extend((method, re.compile(pattern), handler) for method in methods.split())
        return handler

    return add


class HubRoutes:
    """Repositories, and the answers of a Hub that keeps them.

    Args:
        endpoint: address of the Hub.
        storage: address of the host of LFS files.

    `page_entries` of a tree are sent at a time; LFS files longer than `part_bytes` are asked for in parts.
    """

    def __init__(self, endpoint: str, storage: str):
        self.endpoint, self.storage = endpoint, storage
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.page_entries, self.part_bytes = 1000, None

    def answer(self, request: Request, path: str, body: bytes) -> Response | None:
        """`None` where no route goes. Nothing is awaited in here: requests are worked off one after the other."""
        for method, pattern, handler in ROUTES:
            if method == request.method and (match := pattern.fullmatch(path)):
                names = {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
                return handler(self, request, body, **names)
        return None

    def user(self, request: Request) -> tuple[str, tuple[str, ...], str] | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        if token not in TOKENS:
            raise HubError(401, "Invalid credentials in Authorization header")
        return TOKENS[token]

    def open(self, request: Request, kind: str, name: str, write: bool = False) -> Repository:
        """The repository, if whoever asks may read it, or write to it."""
        user = self.user(request)
        member = user is not None and name.partition("/")[0] in (user[0], *user[1])
        repository = self.repositories.get((kind, name))
        if repository is None or (repository.private and not member):
            status, message = (404, "Repository not found") if user else (401, "Invalid username or password.")
            raise HubError(status, message, "RepoNotFound")
        if write and user is None:
            raise HubError(401, "Invalid username or password.")
        if write and user is not None and not (member and user[2] == "write"):
            raise HubError(403, f"Forbidden: you must use a write token with access to {name}")
        return repository

    @route("GET", "/api/agent-harnesses")
    def agent_harnesses(self, request: Request, body: bytes) -> Response:
        return JSONResponse({"standardEnvVars": [], "harnesses": {}})  # the client asks what its user agent is to say

    # --- Accounts and repositories -----------------------------------------------------------------------------------

    @route("GET", "/api/whoami-v2")
    def who_am_i(self, request: Request, body: bytes) -> Response:
        user = self.user(request)
        if user is None:
            raise HubError(401, "Invalid username or password.")
        name, organizations, role = user
        token = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
        orgs = [{"type": "org", "name": org, "roleInOrg": "admin"} for org in organizations]
        return JSONResponse({"type": "user", "name": name, "fullname": name, "orgs": orgs, "auth": token})

    @route("POST DELETE", "/api/repos/(?:create|delete)")
    def create_or_delete(self, request: Request, body: bytes) -> Response:
        asked, user = json.loads(body), self.user(request)
        if user is None:
            raise HubError(401, "Invalid username or password.")
        owner, kind = asked.get("organization") or user[0], asked.get("type") or "model"
        name = f"{owner}/{asked['name']}"
        if owner not in (user[0], *user[1]) or user[2] != "write":
            raise HubError(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
        if request.method == "DELETE":
            self.open(request, kind, name, write=True)
            del self.repositories[kind, name]
            return Response("OK")
        url = f"{self.endpoint}/{'' if kind == 'model' else kind + 's/'}{name}"
        if (kind, name) in self.repositories:
            message = f"You already created this {kind} repo: {name}"
            return JSONResponse({"error": message, "url": url}, 409, {"X-Error-Message": message})
        if kind == "space" and asked.get("sdk") not in ("gradio", "docker", "static"):
            raise HubError(400, "sdk is missing or unknown")
        self.repositories[kind, name] = Repository(kind, name, asked.get("visibility") == "private", asked.get("sdk"))
        return JSONResponse({"url": url, "name": name, "id": name})

    @route("POST", "/api/validate-yaml")
    def validate(self, request: Request, body: bytes) -> Response:
        asked = json.loads(body)
        errors, warnings = check_card(asked["content"], asked["repoType"])
        told = {
            name: [{"message": text} for text in texts] for name, texts in (("errors", errors), ("warnings", warnings))
        }
        return JSONResponse(told, 400 if errors else 200)

    @route("GET", API + f"(?:/revision{REVISION})?")
    def info(self, request: Request, body: bytes, kind: str, name: str, revision: str = "main") -> Response:
        repository = self.open(request, kind, name)
        commit = repository.find(revision)
        card = front_matter(commit.files["README.md"].content.decode()) if "README.md" in commit.files else None
        siblings = [{"rfilename": path} for path in commit.files]
        if request.query_params.get("blobs"):
            for sibling in siblings:
                blob = commit.files[sibling["rfilename"]]
                sibling |= {"size": len(blob.content), "blobId": blob.oid}
                if blob.is_lfs:
                    sibling["lfs"] = {"size": len(blob.content), "sha256": blob.sha256, "pointerSize": 134}
        about: dict[str, Any] = {"_id": name, "id": name, "modelId": name, "author": name.partition("/")[0]}
        about |= {"sha": commit.id, "lastModified": DATE, "createdAt": DATE, "private": repository.private}
        about |= {"gated": repository.gated, "disabled": False, "downloads": 0, "likes": 0, "siblings": siblings}
        about |= {"tags": (card or {}).get("tags", []), "cardData": card, "sdk": repository.sdk}
        about |= {key: card[key] for key in ("library_name", "pipeline_tag") if key in (card or {})}
        return JSONResponse(about)

    @route("GET", API + "/refs")
    def refs(self, request: Request, body: bytes, kind: str, name: str) -> Response:
        repository = self.open(request, kind, name)
        groups = {"branches": ("refs/heads/", repository.branches), "tags": ("refs/tags/", repository.tags)}
        groups |= {"pullRequests": ("", repository.pull_requests), "converts": ("", {})}
        listed = {
            group: [{"name": ref, "ref": prefix + ref, "targetCommit": refs[ref]} for ref in refs]
            for group, (prefix, refs) in groups.items()
        }
        return JSONResponse(listed)

    @route("POST DELETE", API + "/(?P<what>branch|tag)/(?P<ref>[^/]+)")
    def change_refs(self, request: Request, body: bytes, kind: str, name: str, what: str, ref: str) -> Response:
        """A branch is made at `startingPoint` under the name in the path; a tag at the revision in the path."""
        repository = self.open(request, kind, name, write=True)
        refs = repository.branches if what == "branch" else repository.tags
        asked = json.loads(body) if body else {}
        if request.method == "DELETE":
            if refs.pop(ref, None) is None:
                raise HubError(404, f"Reference does not exist: {ref}", "RevisionNotFound")
            return Response("OK")
        new, at = (ref, asked.get("startingPoint", "main")) if what == "branch" else (asked["tag"], ref)
        if new in refs:
            raise HubError(409, f"Reference already exists: {new}")
        refs[new] = repository.find(at).id
        return Response("OK", 201)

    @route("GET", API + f"/commits{REVISION}")
    def list_commits(self, request: Request, body: bytes, kind: str, name: str, revision: str) -> Response:
        repository, listed = self.open(request, kind, name), []
        commit: Commit | None = repository.find(revision)
        while commit is not None:
            listed.append(
                {"id": commit.id, "title": commit.title, "message": commit.message, "date": DATE, "authors": []}
            )
            commit = repository.commits[commit.parent] if commit.parent else None
        return JSONResponse(listed)

    # --- Upload ------------------------------------------------------------------------------------------------------

    @route("POST", API + f"/preupload{REVISION}")
    def preupload(self, request: Request, body: bytes, kind: str, name: str, revision: str) -> Response:
        there, files = self.open(request, kind, name, write=True).find(revision).files, []
        for file in json.loads(body)["files"]:
            path, text = file["path"], is_text(base64.b64decode(file["sample"]))
            lfs = path.endswith(LFS_SUFFIXES) or file["size"] > LARGEST_REGULAR_FILE or not text
            oid = there[path].etag if path in there else None
            mode = "lfs" if lfs else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return JSONResponse({"files": files})

    @route("POST", WEB + r"\.git/info/lfs/objects/batch")
    def lfs_batch(self, request: Request, body: bytes, name: str, kind: str = "model") -> Response:
        self.open(request, kind, name, write=True)
        asked, objects, verify = json.loads(body), [], {"href": f"{self.endpoint}/api/lfs/verify"}
        for item in asked["objects"]:
            href = f"{self.storage}/lfs/{item['oid']}"
            upload: dict[str, Any] = {"href": href + "/1"}
            if self.part_bytes and item["size"] > self.part_bytes and "multipart" in asked["transfers"]:
                parts = -(-item["size"] // self.part_bytes)
                header = {str(number): f"{href}/{number}" for number in range(1, parts + 1)}
                upload = {"href": f"{self.endpoint}/api/lfs/complete"}
                upload["header"] = header | {"chunk_size": str(self.part_bytes)}
            actions = {} if item["oid"] in self.stored else {"actions": {"upload": upload, "verify": verify}}
            objects.append({"oid": item["oid"], "size": item["size"], "authenticated": True} | actions)
        return JSONResponse({"transfer": "multipart" if self.part_bytes else "basic", "objects": objects})

    @route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})/(?P<number>[0-9]+)")
    def lfs_put(self, request: Request, body: bytes, oid: str, number: str) -> Response:
        refuse_token(request)
        self.uploads.setdefault(oid, {})[int(number)] = body
        return Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    @route("POST", "/api/lfs/complete")
    def lfs_complete(self, request: Request, body: bytes) -> Response:
        asked = json.loads(body)
        parts = self.uploads.get(asked["oid"], {})
        there = {number: hashlib.md5(parts[number]).hexdigest() for number in parts}
        if {part["partNumber"]: part["etag"].strip('"') for part in asked["parts"]} != there:
            raise HubError(400, "the parts are not those that were uploaded")
        return JSONResponse({})

    @route("POST", "/api/lfs/verify")
    def lfs_verify(self, request: Request, body: bytes) -> Response:
        asked, parts = json.loads(body), self.uploads.pop(json.loads(body)["oid"], {})
        content = b"".join(parts[number] for number in sorted(parts))
        if len(content) != asked["size"] or hashlib.sha256(content).hexdigest() != asked["oid"]:
            raise HubError(400, f"what was uploaded is not the file of sha256 {asked['oid']}")
        self.stored[asked["oid"]] = content
        return JSONResponse({"message": "Verified"})

    @route("POST", API + f"/commit{REVISION}")
    def commit(self, request: Request, body: bytes, kind: str, name: str, revision: str) -> Response:
        repository = self.open(request, kind, name, write=True)
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        head = repository.find(revision)
        is_pull_request = request.query_params.get("create_pr") == "1"
        parent = header.get("parentCommit", head.id)
        if is_pull_request:
            head = repository.find(parent)
        elif not head.id.startswith(parent):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        refs = next((refs for refs in (repository.branches, repository.pull_requests) if revision in refs), None)
        if refs is None:
            raise HubError(404, f"{revision} is no branch", "RevisionNotFound")
        files = dict(head.files)
        for line in lines[1:]:
            self.apply(line["key"], line["value"], files)
        if "README.md" in files and (errors := check_card(files["README.md"].content.decode(), kind)[0]):
            raise HubError(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
        ref = revision
        if is_pull_request:
            refs, ref = repository.pull_requests, f"refs/pr/{len(repository.pull_requests) + 1}"
        commit = repository.add_commit(header["summary"], header["description"], head.id, files, refs, ref)
        url = f"{self.endpoint}/{'' if kind == 'model' else kind + 's/'}{name}"
        told = {"success": True, "commitUrl": f"{url}/commit/{commit.id}", "commitOid": commit.id, "hookOutput": ""}
        if is_pull_request:
            told["pullRequestUrl"] = f"{url}/discussions/{ref.rpartition('/')[2]}"
        return JSONResponse(told)

    def apply(self, key: str, value: dict[str, Any], files: dict[str, Blob]) -> None:
        """One line of a commit, done to `files`."""
        path = value["path"]
        if key == "file":
            content = base64.b64decode(value["content"])
            if len(content) > LARGEST_REGULAR_FILE or not is_text(content):
                raise HubError(400, f"{path} is large or binary; accepted: as an LFS file")
            files[path] = Blob(content)
        elif key == "lfsFile":
            if value["oid"] not in self.stored:
                raise HubError(400, f"{path} points to an LFS file that was not uploaded")
            files[path] = Blob(self.stored[value["oid"]], is_lfs=True)
        elif key in ("deletedFile", "deletedFolder"):
            gone = [name for name in files if name == path or (key == "deletedFolder" and name.startswith(path))]
            if not gone:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            for file in gone:
                del files[file]
        else:
            raise HubError(400, f"unknown operation {key}")

    # --- Download ----------------------------------------------------------------------------------------------------

    def readable(self, request: Request, kind: str, name: str) -> Repository:
        """As `open`, for contents, which of a gated repository only members see."""
        repository, user = self.open(request, kind, name), self.user(request)
        if repository.gated and (user is None or name.partition("/")[0] not in (user[0], *user[1])):
            message = f"Access to {kind} {name} is restricted. You must have access to it and be authenticated."
            raise HubError(403 if user else 401, message, "GatedRepo")
        return repository

    @route("GET", API + f"/tree{REVISION}(?:/(?P<folder>.+))?")
    def tree(self, request: Request, body: bytes, kind: str, name: str, revision: str, folder: str = "") -> Response:
        files = self.readable(request, kind, name).find(revision).files
        start = folder.rstrip("/") + "/" if folder else ""
        inside = {path: blob for path, blob in files.items() if path.startswith(start)}
        if folder and not inside:
            raise HubError(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
        if request.query_params.get("recursive") == "true":
            entries = [describe_folder(path) for path in folders_of(inside) if len(path) >= len(start)]
            entries += [blob.describe(path) for path, blob in inside.items()]
        else:
            names = {path: path[len(start) :].split("/") for path in inside}
            entries = [describe_folder(start + top) for top in sorted({n[0] for n in names.values() if len(n) > 1})]
            entries += [inside[path].describe(path) for path in inside if len(names[path]) == 1]
        first = int(request.query_params.get("cursor", 0))
        last, headers = first + self.page_entries, {}
        if last < len(entries):
            headers["Link"] = f'<{request.url.include_query_params(cursor=last)}>; rel="next"'
        return JSONResponse(entries[first:last], headers=headers)

    @route("POST", API + f"/paths-info{REVISION}")
    def paths_info(self, request: Request, body: bytes, kind: str, name: str, revision: str) -> Response:
        files = self.readable(request, kind, name).find(revision).files
        asked = [
            unquote(field.partition("=")[2].replace("+", " "))
            for field in body.decode().split("&")
            if "paths=" in field
        ]
        found = [files[path].describe(path) for path in asked if path in files]
        return JSONResponse(found + [describe_folder(path) for path in asked if path in folders_of(files)])

    @route("GET HEAD", WEB + f"/resolve{REVISION}/(?P<path>.+)")
    def resolve(
        self, request: Request, body: bytes, name: str, revision: str, path: str, kind: str = "model"
    ) -> Response:
        commit = self.readable(request, kind, name).find(revision)
        headers = {"X-Repo-Commit": commit.id}
        if path not in commit.files:
            raise HubError(404, "Entry not found", "EntryNotFound", headers)
        blob = commit.files[path]
        if not blob.is_lfs:
            return ranged(request, blob.content, headers | {"ETag": f'"{blob.etag}"'})
        headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.content))}
        return Response(status_code=302, headers=headers | {"Location": f"{self.storage}/storage/{blob.sha256}"})

    @route("GET HEAD", "/storage/(?P<oid>[0-9a-f]{64})")
    def storage_file(self, request: Request, body: bytes, oid: str) -> Response:
        refuse_token(request)
        return ranged(request, self.stored[oid], {"ETag": f'"{oid}"'})


def refuse_token(request: Request) -> None:
    """Storage knows whom it serves by signed addresses; a token that is shown to it is a token that leaked."""
    if "authorization" in request.headers:
        raise HubError(400, "a token was sent to another host than the Hub")


def ranged(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    headers |= {"Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if not asked:
        return Response(content, headers=headers, media_type="application/octet-stream")
    size, first, last = len(content), *asked.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        raise HubError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
    headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return Response(content[start:end], 206, headers, "application/octet-stream")
