"""`hub_upload.py` over real HTTP: one commit, the same command again changes nothing, every failure is one line."""

import re
import shutil
import socket
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from hub_cards import check_card
from huggingface_hub import HfApi, metadata_load
from PIL import Image
from transformers import AutoModelForImageToImage, pipeline

import hub_upload
from modeling_chromagan.publishing.release_folder import build_release, list_files

NAME, DEMO = "org/autumn", "org/autumn-demo"


@pytest.fixture
def publish(hub, quick_release, monkeypatch, capsys, evaluated_run):
    """Runs the command with the loopback Hub's token: exit code, what was printed, what was complained about."""
    monkeypatch.setattr(hub_upload, "EXAMPLES", quick_release)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its own tries
    monkeypatch.setenv("HF_TOKEN", hub.token)

    def publish(*options, source: Path = evaluated_run, name: str = NAME) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = hub_upload.main([str(source), "--repo-id", name, *map(str, options)])
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        assert hub.token not in captured.out + captured.err
        assert captured.err.count("\n") <= 1, captured.err
        return code, captured.out, captured.err

    return publish


def commits(hub, name: str = NAME, **options) -> list[str]:
    """Titles of the commits, newest first."""
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    return [commit.title for commit in api.list_repo_commits(name, **options)]


def test_a_run_is_published_in_one_commit_and_the_same_again_changes_nothing(hub, publish, evaluated_run, tmp_path):
    code, said, _ = publish()
    assert code == 0
    assert commits(hub) == ["Publish autumn", "initial commit"]
    folder = tmp_path / "release"
    build_release(evaluated_run, folder, NAME, examples=hub_upload.EXAMPLES)
    there = hub.files(NAME)
    assert {path: there[path] for path in there if path != ".gitattributes"} == {
        str(path): (folder / path).read_bytes() for path in list_files(folder)
    }
    assert said == f"published: {hub.endpoint}/{NAME} at {HfApi(token=hub.token).model_info(NAME).sha}\n"
    sent = len(hub.asked("PUT", "^/lfs/"))
    code, said, _ = publish()
    assert (code, said.partition(":")[0]) == (0, "nothing has changed")
    assert len(commits(hub)) == 2
    assert len(hub.asked("PUT", "^/lfs/")) == sent, "files were sent again"


def test_what_was_published_loads_from_there(hub, publish, evaluated_run, tmp_path):
    publish()
    Image.radial_gradient("L").resize((120, 90)).save(tmp_path / "gray.png")
    assert type(AutoModelForImageToImage.from_pretrained(NAME)).__name__ == "ChromaGANGenerator"
    published = pipeline("image-to-image", model=NAME, trust_remote_code=True, dtype="float32")
    trained = pipeline("image-to-image", model=str(evaluated_run / "model"), trust_remote_code=True)
    pictures = [np.asarray(pipe(str(tmp_path / "gray.png"))).astype(int) for pipe in (published, trained)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_files_of_an_earlier_release_go_and_others_stay(hub, publish, evaluated_run, tmp_path):
    publish("--training-checkpoint")
    assert "training/checkpoint-00000004/generator.safetensors" in hub.files(NAME)
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    for path in ("press/photograph.jpg", "old_module.py"):
        api.upload_file(path_or_fileobj=b"x", path_in_repo=path, repo_id=NAME)
    changed = shutil.copytree(evaluated_run, tmp_path / "winter")
    (changed / "README.md").write_text("# Winter\n\nSnow, mostly.\n", encoding="utf-8")
    assert publish(source=changed)[0] == 0
    files = hub.files(NAME)
    assert not [path for path in files if path.startswith("training/") or path == "old_module.py"]
    assert {"press/photograph.jpg", ".gitattributes", "model.safetensors"} <= set(files)
    assert b"\n# Winter\n\nSnow, mostly.\n" in files["README.md"]
    assert commits(hub)[0] == "Publish winter"


def test_an_interrupted_upload_is_finished_by_the_same_command(hub, publish):
    hub.fail("PUT", "^/lfs/", after_bytes=1000, times=1000, reset=True)
    code, _, complaint = publish()
    assert code == 1
    assert complaint.endswith("check the network, then run the same command again, what was sent is not sent again\n")
    assert len(commits(hub)) == 1, "a part was published"
    hub.faults.clear()
    hub.fail("POST", "/commit/main$", 503, times=1000)  # everything is sent, nothing is visible yet
    assert publish()[0] == 1
    assert len(commits(hub)) == 1
    hub.faults.clear()
    sent = len(hub.asked("PUT", "^/lfs/"))
    assert publish()[0] == 0
    assert len(hub.asked("PUT", "^/lfs/")) == sent, "files were sent again"
    assert commits(hub)[0] == "Publish autumn"


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("POST", "/repos/create$", 401, "the Hub does not know this token .401.: run `hf auth login`"),
        ("POST", "/repos/create$", 403, "this token may not write there .403.: use one with write access"),
        ("POST", "/repos/create$", 429, "too many requests .429.: wait 7 seconds, then run the same command again"),
        ("POST", "/repos/create$", 500, "the Hub has trouble .500.: wait, then run the same command again"),
        ("POST", "/commit/main$", 400, "the Hub does not accept what was sent; it says: asked for by a test"),
        ("POST", "/commit/main$", 401, "the Hub does not know this token"),
        ("POST", "/commit/main$", 403, "this token may not write there"),
        ("POST", "/commit/main$", 404, "is not there, or hidden from this token .404.: check the name"),
        ("POST", "/commit/main$", 409, "somebody else is changing it at this moment .409.: wait, then run the same"),
        ("POST", "/commit/main$", 412, "somebody else has changed it meanwhile .412.: run the same command again"),
        ("POST", "/commit/main$", 503, "the Hub has trouble .503.: wait, then run the same command again"),
        ("POST", "/preupload/", 502, "the Hub has trouble .502.: wait, then"),
        ("POST", "objects/batch$", 429, "too many requests .429.: wait 7 seconds"),
        ("PUT", "^/lfs/", 403, "this token may not write there"),
    ],
)
def test_every_answer_of_the_hub_ends_in_one_line_that_says_what_to_do(hub, publish, method, path, status, says):
    hub.fail(method, path, status, times=50, headers={"Retry-After": "7"} if status == 429 else None)
    if status == 401 and "create" in path:
        hub.fail("GET", "/api/models/", 401, times=50)
    if status == 403 and "create" in path:
        hub.fail("GET", "/api/models/", 404, times=50)
    code, said, complaint = publish()
    assert (code, said) == (1, "")
    assert re.match(rf"hub_upload\.py: {NAME}: .*{says}", complaint), complaint


def test_no_network_is_one_line_soon(publish, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    code, _, complaint = publish()
    assert code == 1
    assert complaint == (
        f"hub_upload.py: {NAME}: http://127.0.0.1:9 cannot be reached (ConnectError): check the network, then run the "
        "same command again, what was sent is not sent again\n"
    )


def test_tokens_appear_nowhere(hub, publish, monkeypatch):
    for token in (hub.read_token, hub.strangers_token, "hf_thisIsNoTokenAtAll"):
        monkeypatch.setenv("HF_TOKEN", token)
        hub.fail("POST", "/repos/create$", 400, message=f"what is Bearer {token} about", times=1)
        code, said, complaint = publish()
        assert code == 1
        assert token not in said + complaint
        assert "Bearer [token] about" in complaint
        code, said, complaint = publish()
        assert code == 1
        assert token not in said + complaint


def test_without_a_token_nothing_is_asked(hub, publish, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    code, _, complaint = publish()
    assert code == 1
    assert complaint == (
        "hub_upload.py: no token: run `hf auth login` once, or set HF_TOKEN to a token with write access\n"
    )
    assert hub.requests == []


def test_the_token_of_a_login_is_used(hub, publish, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    path = Path(huggingface_hub.constants.HF_TOKEN_PATH)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(hub.token)
    assert publish()[0] == 0


def test_offline_is_refused(hub, publish, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    code, _, complaint = publish()
    assert (code, hub.requests) == (1, [])
    assert complaint == "hub_upload.py: HF_HUB_OFFLINE is set; accepted: uploads without it, or --dry-run\n"


@pytest.mark.parametrize("name", ["autumn", "org/a/b", "org/au tumn", "org/--", "/autumn", "org/" + 97 * "a"])
def test_a_wrong_repository_is_refused(hub, publish, name):
    code, _, complaint = publish(name=name)
    assert (code, hub.requests) == (1, [])
    assert complaint.startswith(f"hub_upload.py: --repo-id {name}: is no repository; accepted: OWNER/NAME ")


def test_a_dry_run_opens_no_socket_and_shows_every_file(hub, publish, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    folder = tmp_path / "kept"
    code, said, complaint = publish("--dry-run", "--space", DEMO, "-o", folder)
    assert (code, complaint) == (0, "")
    sizes = {str(path): (folder / path).stat().st_size for path in list_files(folder)}
    shown = dict(reversed(line.split()) for line in said.partition("Space ")[0].splitlines() if len(line.split()) == 2)
    assert {path: int(size.replace(",", "")) for path, size in shown.items()} == sizes
    assert f"{sum(sizes.values()):>14,}  bytes in {len(sizes)} files\n" in said
    assert f"Space {DEMO}:\n" in said
    assert "  app.py\n" in said
    assert hub.requests == []


def test_what_is_wrong_with_a_run_is_found_before_anything_is_sent(hub, publish, evaluated_run, tmp_path):
    damaged = shutil.copytree(evaluated_run, tmp_path / "damaged")
    (damaged / "model" / "diary.txt").write_text("rain")
    code, _, complaint = publish(source=damaged)
    assert code == 1
    assert "diary.txt: is no file of a model" in complaint
    assert hub.requests == []


def test_private_repositories_are_private_and_public_ones_are_not_used_for_them(hub, publish):
    assert publish("--private")[0] == 0
    assert hub.repository(NAME).private
    assert publish("--private")[0] == 0
    assert publish(name="org/open")[0] == 0
    before = len(commits(hub, "org/open"))
    code, _, complaint = publish("--private", name="org/open")
    assert code == 1
    assert "org/open is there and public, and --private is given; accepted: a new name, or its settings" in complaint
    assert len(commits(hub, "org/open")) == before


def test_a_revision_is_a_branch_of_its_own(hub, publish):
    assert publish("--revision", "trial")[0] == 0
    assert "model.safetensors" in hub.files(NAME, revision="trial")
    assert set(hub.files(NAME)) == {".gitattributes"}
    assert publish("--revision", "trial")[1].startswith("nothing has changed")
    assert publish()[0] == 0
    assert "model.safetensors" in hub.files(NAME)


def test_the_card_passes_the_hub_s_checks(hub, publish):
    publish()
    assert check_card(hub.files(NAME)["README.md"].decode(), "model") == ([], [])


def test_a_space_runs_the_very_commit_that_was_published(hub, publish, tmp_path):
    code, said, _ = publish("--space", DEMO)
    assert code == 0
    assert [line.partition(":")[0] for line in said.splitlines()] == ["published", "published"]
    commit = HfApi(token=hub.token).model_info(NAME).sha
    files = hub.files(DEMO, "space")
    (tmp_path / "README.md").write_bytes(files["README.md"])
    settings = metadata_load(tmp_path / "README.md")
    assert settings["models"] == [NAME]
    weights = "config.json,preprocessor_config.json,model.safetensors"
    assert settings["preload_from_hub"] == [f"{NAME} {weights} {commit}"]
    assert check_card(files["README.md"].decode(), "space") == ([], [])
    assert files["app.py"] == (hub_upload.SPACE / "app.py").read_bytes()
    assert set(files) == {
        *(".gitattributes", "README.md", "app.py", "requirements.txt"),
        *("examples/gradient.png", "examples/CREDITS.md"),
    }
    publish("--space", DEMO)
    assert commits(hub, DEMO, repo_type="space") == [f"Run {NAME}", "initial commit"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_published_page_runs_from_the_published_model_without_the_package(hub, publish, monkeypatch, tmp_path):
    from gradio_client import handle_file
    from test_space import WITHOUT_THE_PACKAGE, connected, running_page

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)  # of the page's client
    publish("--space", DEMO)
    page = tmp_path / "page"
    for path, content in hub.files(DEMO, "space").items():
        (page / path).parent.mkdir(parents=True, exist_ok=True)
        (page / path).write_bytes(content)
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
    settings |= {"CHROMAGAN_MODEL": "", "GRADIO_TEMP_DIR": str(tmp_path), "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(page / "app.py")]
    commit = HfApi(token=hub.token).model_info(NAME).sha
    hub.requests.clear()
    log, downloads = tmp_path / "log.txt", tmp_path / "downloads"
    with running_page(command, settings, log) as address, connected(address, downloads) as client:
        result = client.predict(handle_file(str(page / "examples" / "gradient.png")), api_name="/colorize")[0]
    with Image.open(result) as picture:
        assert picture.size == (96, 64)
    fetched = {entry.path for entry in hub.requests if "/resolve/" in entry.path}
    assert {path.partition("/resolve/")[2].partition("/")[0] for path in fetched} == {commit}


def test_a_space_that_wants_a_subscription_leaves_the_model_published(hub, publish):
    publish()
    hub.fail("POST", "/repos/create$", 402, times=50, message="Subscribe to PRO")  # of what is there, the client looks
    code, said, complaint = publish("--space", DEMO)
    assert (code, said.partition(":")[0]) == (1, "nothing has changed")
    assert complaint == (
        f"hub_upload.py: Space {DEMO}: the Hub wants a subscription for a Space on this hardware (402): accepted "
        "without one are --space-hardware zero-a10g and --browser-space, whose page runs in the visitor's browser; it "
        "says: Subscribe to PRO (the model is published)\n"
    )


def test_a_page_of_a_private_model_is_refused(hub, publish):
    code, _, complaint = publish("--private", "--space", DEMO)
    assert (code, hub.requests) == (1, [])
    assert "--space with --private: the page reads its model without a token" in complaint


def test_a_browser_page_is_built_by_its_own_script_and_published_as_a_static_space(
    hub, publish, monkeypatch, tmp_path
):
    script = tmp_path / "build.py"
    script.write_text(
        "import pathlib, sys\n"
        "model, option, folder = sys.argv[1:]\n"
        "assert option == '-o' and (pathlib.Path(model) / 'config.json').is_file()\n"
        "pathlib.Path(folder).mkdir(parents=True)\n"
        "pathlib.Path(folder, 'README.md').write_text('---\\ntitle: Page\\nsdk: static\\n---\\n')\n"
        "pathlib.Path(folder, 'index.html').write_text('<p>')\n"
    )
    monkeypatch.setattr(hub_upload, "BROWSER", script)
    assert publish("--browser-space", "org/autumn-browser")[0] == 0
    assert set(hub.files("org/autumn-browser", "space")) == {".gitattributes", "README.md", "index.html"}
    assert hub.repository("org/autumn-browser", "space").sdk == "static"
    script.write_text("import sys; sys.exit('build.py: npm is missing; accepted: npm 10')")
    code, _, complaint = publish("--browser-space", "org/autumn-browser")
    assert code == 1
    assert complaint == (
        "hub_upload.py: --browser-space: the page cannot be built: build.py: npm is missing; accepted: npm 10\n"
    )


@pytest.mark.slow
def test_graphs_and_the_page_in_the_browser_are_made_and_published(hub, evaluated_run, monkeypatch, capsys):
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    if shutil.which("npm") is None:
        pytest.skip("there is no npm, which fetches the page's libraries")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    command = [str(evaluated_run), "--repo-id", NAME, "--browser-space", "org/autumn-browser"]
    assert hub_upload.main(command) == 0, capsys.readouterr().err
    files = hub.files(NAME)
    for name in ("model", "model_fp16"):
        graph = onnx.load_from_string(files[f"onnx/{name}.onnx"])
        assert {entry.key: entry.value for entry in graph.metadata_props}["license"] == "apache-2.0"
    page = hub.files("org/autumn-browser", "space")
    assert {"README.md", "index.html", "service_worker.js"} < page.keys()
    assert sum(path.endswith(".onnx") for path in page) == 1
