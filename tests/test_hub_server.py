"""The loopback Hub answers huggingface_hub's own client as the Hub does: what other tests build on."""

import threading
from pathlib import Path

import pytest
from hub_client import run_python
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

NAME = "org/chromagan"
CARD = "---\nlicense: apache-2.0\ntags: [image-colorization]\n---\n\n# A model\n"
WEIGHTS = bytes(range(256)) * 4000  # a megabyte


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.token)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "critic").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "critic" / "model.safetensors").write_bytes(WEIGHTS[:1000])
    return folder


@pytest.fixture
def uploaded(api, folder):
    """The first commit's id."""
    api.create_repo(NAME)
    return api.upload_folder(repo_id=NAME, folder_path=folder).oid


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_goes_up_in_one_commit_and_comes_down_again(hub, api, folder, uploaded):
    there = hub.files(NAME)
    assert {path: there[path] for path in there if path != ".gitattributes"} == contents(folder)
    assert len(api.list_repo_commits(NAME)) == 2
    assert len(hub.asked("PUT", "^/lfs/")) == 2
    assert len(hub.asked("POST", "/commit/main$")) == 1
    loaded = snapshot_download(NAME)
    assert contents(folder).items() <= contents(Path(loaded)).items()
    assert not any("authorization" in entry.headers for entry in hub.asked("GET", "^/storage/"))


def test_an_unchanged_folder_makes_no_commit_and_a_changed_one_sends_what_changed(hub, api, folder, uploaded):
    assert api.upload_folder(repo_id=NAME, folder_path=folder).oid == uploaded
    assert len(hub.asked("POST", "/commit/")) == 1
    (folder / "config.json").write_text('{"changed": true}')
    (folder / "critic" / "model.safetensors").unlink()
    api.upload_folder(repo_id=NAME, folder_path=folder, delete_patterns="critic/*")
    assert len(hub.asked("POST", "/commit/")) == 2
    assert len(hub.asked("PUT", "^/lfs/")) == 2
    assert set(hub.files(NAME)) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert hub.files(NAME, revision=uploaded)["config.json"] == b"{}"


def test_files_are_downloaded_once(hub, uploaded):
    for _ in range(2):
        hf_hub_download(NAME, "model.safetensors")
        hf_hub_download(NAME, "config.json")
    assert len(hub.asked("GET", "/storage/")) == len(hub.asked("GET", "/config.json$")) == 1


@pytest.mark.parametrize("after_bytes", [0, 300_000])
def test_a_download_that_is_cut_is_finished(hub, uploaded, monkeypatch, after_bytes):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.fail("GET", "/storage/", after_bytes=after_bytes)
    assert Path(hf_hub_download(NAME, "model.safetensors")).read_bytes() == WEIGHTS
    first, second = hub.asked("GET", "/storage/")
    assert first.sent == after_bytes
    assert second.headers.get("range") == (f"bytes={after_bytes}-" if after_bytes else None)
    assert second.sent == len(WEIGHTS) - after_bytes


def test_a_download_that_is_reset_fails(hub, uploaded):
    hub.fail("GET", "/storage/", after_bytes=300_000, reset=True)
    with pytest.raises(Exception, match="reset by peer"):
        hf_hub_download(NAME, "model.safetensors")
    assert Path(hf_hub_download(NAME, "model.safetensors")).read_bytes() == WEIGHTS


@pytest.mark.parametrize("part_bytes", [None, 400_000])
def test_an_upload_that_is_cut_is_done_again(hub, api, folder, part_bytes):
    hub.spoken.part_bytes = part_bytes
    api.create_repo(NAME)
    hub.fail("PUT", "^/lfs/", after_bytes=100_000, reset=True)
    api.upload_folder(repo_id=NAME, folder_path=folder)
    assert hub.files(NAME)["model.safetensors"] == WEIGHTS
    assert len(hub.asked("PUT", "^/lfs/")) == (3 if part_bytes is None else 5)


def test_what_was_uploaded_before_a_failure_is_not_uploaded_again(hub, api, folder):
    api.create_repo(NAME)
    hub.fail("POST", "/commit/", 500)
    with pytest.raises(HfHubHTTPError, match="500"):
        api.upload_folder(repo_id=NAME, folder_path=folder)
    assert set(hub.files(NAME)) == {".gitattributes"}
    api.upload_folder(repo_id=NAME, folder_path=folder)
    assert len(hub.asked("PUT", "^/lfs/")) == 2


def test_damaged_uploads_are_refused(hub, api, folder, monkeypatch):
    api.create_repo(NAME)
    monkeypatch.setattr("huggingface_hub.lfs._upload_single_part", lambda operation, upload_url: None)
    with pytest.raises(RuntimeError, match="Error while uploading"):
        api.upload_folder(repo_id=NAME, folder_path=folder)
    assert {entry.status for entry in hub.asked("POST", "/verify$")} == {400}


def test_tags_branches_and_commits_name_revisions(hub, api, uploaded):
    api.create_tag(NAME, tag="v1.0")
    api.create_branch(NAME, branch="next/try", revision="v1.0")
    changed = CommitOperationAdd("config.json", b'{"changed": true}')
    second = api.create_commit(NAME, [changed], commit_message="Change", revision="next/try")
    for revision, content in (
        ("v1.0", b"{}"),
        ("main", b"{}"),
        (uploaded, b"{}"),
        ("next/try", b'{"changed": true}'),
        (second.oid, b'{"changed": true}'),
    ):
        assert Path(hf_hub_download(NAME, "config.json", revision=revision)).read_bytes() == content
    refs = api.list_repo_refs(NAME)
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1.0": uploaded}
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": uploaded, "next/try": second.oid}
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(NAME, tag="v1.0")
    api.create_tag(NAME, tag="v1.0", exist_ok=True)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(NAME, "config.json", revision="v2.0")


def test_a_pull_request_changes_no_branch(hub, api, uploaded):
    operations = [CommitOperationAdd("config.json", b"[]"), CommitOperationDelete("critic/", is_folder=True)]
    proposed = api.create_commit(NAME, operations, commit_message="Propose", create_pr=True)
    assert proposed.pr_url.endswith("/discussions/1")
    assert Path(hf_hub_download(NAME, "config.json", revision="refs/pr/1")).read_bytes() == b"[]"
    assert hub.files(NAME)["config.json"] == b"{}"
    assert "critic/model.safetensors" not in hub.files(NAME, revision="refs/pr/1")


def test_a_commit_on_an_outdated_parent_is_refused(hub, api, uploaded):
    api.create_commit(NAME, [CommitOperationAdd("a.txt", b"a")], commit_message="a", parent_commit=uploaded)
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.create_commit(NAME, [CommitOperationAdd("b.txt", b"b")], commit_message="b", parent_commit=uploaded)


def test_commits_at_once_follow_each_other(hub, api, uploaded):
    def commit(name: str) -> None:
        api.create_commit(NAME, [CommitOperationAdd(name, name.encode())], commit_message=name)

    threads = [threading.Thread(target=commit, args=(name,)) for name in ("a.txt", "b.txt", "c.txt")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {"a.txt", "b.txt", "c.txt"} <= set(hub.files(NAME))
    assert len(api.list_repo_commits(NAME)) == 5


def test_trees_come_in_pages_and_folders_are_told_from_files(hub, api, uploaded):
    hub.spoken.page_entries = 2
    paths = {entry.path for entry in api.list_repo_tree(NAME, recursive=True)}
    assert paths == {
        ".gitattributes",
        "README.md",
        "config.json",
        "critic",
        "critic/model.safetensors",
        "model.safetensors",
    }
    assert [entry.path for entry in api.list_repo_tree(NAME, "critic")] == ["critic/model.safetensors"]
    found = api.get_paths_info(NAME, ["critic", "model.safetensors", "none"])
    assert {type(entry).__name__ for entry in found} == {"RepoFolder", "RepoFile"}
    info = api.model_info(NAME, files_metadata=True)
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings}
    assert sizes["model.safetensors"] == len(WEIGHTS)
    assert info.card_data.license == "apache-2.0"


def test_private_repositories_are_there_for_their_members_alone(hub, api, folder, monkeypatch):
    api.create_repo(NAME, private=True)
    api.upload_folder(repo_id=NAME, folder_path=folder)
    with pytest.raises(RepositoryNotFoundError, match="401"):
        snapshot_download(NAME)
    with pytest.raises(RepositoryNotFoundError, match="404"):
        snapshot_download(NAME, token=hub.strangers_token)
    monkeypatch.setenv("HF_TOKEN", hub.read_token)
    assert (Path(snapshot_download(NAME)) / "model.safetensors").read_bytes() == WEIGHTS
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi().upload_file(repo_id=NAME, path_or_fileobj=b"a", path_in_repo="a.txt")
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi(token=hub.strangers_token).create_repo("org/other")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(token="hf_wrong").whoami()
    assert HfApi().whoami()["name"] == "tester"


def test_gated_repositories_show_their_files_to_members_alone(hub, api, uploaded):
    hub.repository(NAME).gated = "manual"
    for token, status in ((False, 401), (hub.strangers_token, 403)):
        with pytest.raises(GatedRepoError, match=str(status)):
            hf_hub_download(NAME, "config.json", token=token)
    assert HfApi(token=hub.strangers_token).model_info(NAME).gated == "manual"
    assert hf_hub_download(NAME, "config.json", token=hub.read_token)


def test_errors_are_those_that_the_client_tells_apart(hub, api, uploaded):
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("org/nothing", "config.json")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(NAME, "nothing.json")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(NAME)
    api.create_repo(NAME, exist_ok=True)
    with pytest.raises(ValueError, match="Invalid metadata"):
        api.upload_file(repo_id=NAME, path_or_fileobj=b"---\nlicense: [1, 2]\n---\n", path_in_repo="README.md")
    hub.fail("GET", f"^/api/models/{NAME}$", 402, message="Subscribe first")
    with pytest.raises(HfHubHTTPError, match="Subscribe first"):
        api.model_info(NAME)
    assert api.model_info(NAME).sha == uploaded


def test_a_client_that_is_told_to_wait_comes_back(hub, api, folder):
    api.create_repo(NAME)
    hub.fail("POST", "/preupload/", 429, headers={"Retry-After": "0"})
    api.upload_folder(repo_id=NAME, folder_path=folder)
    assert [entry.status for entry in hub.asked("POST", "/preupload/")] == [429, 200]


def test_offline_nothing_is_asked_for(hub, uploaded, monkeypatch):
    loaded = snapshot_download(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    count = len(hub.requests)
    assert snapshot_download(NAME) == loaded
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download("org/other")
    assert len(hub.requests) == count


def test_a_fresh_process_asks_this_hub_too(hub, uploaded, tmp_path):
    code = "import sys; from huggingface_hub import hf_hub_download; print(hf_hub_download(*sys.argv[1:]))"
    done = run_python(hub, tmp_path / "home", code, NAME, "config.json", package=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "home")
    done = run_python(hub, tmp_path / "home", "import modeling_chromagan", package=False)
    assert "No module named 'modeling_chromagan'" in done.stderr


def test_what_is_not_spoken_is_kept(hub, api):
    with pytest.raises(HfHubHTTPError, match="404"):
        list(api.list_models(limit=1))
    assert [entry.path for entry in hub.unknown] == ["/api/models"]
    hub.unknown.clear()
