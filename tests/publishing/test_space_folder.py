"""The folder of a Space: what the page needs on the Hub, pinned to one commit, with settings that the Hub accepts."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from hub_cards import check_card
from huggingface_hub import metadata_load
from PIL import Image

from modeling_chromagan.errors import UserError
from modeling_chromagan.publishing.space_folder import belongs_to_space, build_space

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def examples(tmp_path) -> Path:
    folder = tmp_path / "examples"
    folder.mkdir()
    Image.new("L", (20, 10)).save(folder / "gray.png")
    (folder / "CREDITS.md").write_text("Drawn for a test.")
    (folder / "draft.psd").write_bytes(b"8BPS")
    return folder


def test_it_holds_the_page_and_names_model_and_commit(examples, tmp_path):
    build_space(ROOT / "space", tmp_path / "page", "org/autumn", COMMIT, examples)
    files = {path.relative_to(tmp_path / "page") for path in (tmp_path / "page").rglob("*") if path.is_file()}
    names = ["README.md", "app.py", "examples/CREDITS.md", "examples/gray.png", "requirements.txt"]
    assert sorted(map(str, files)) == names
    assert all(belongs_to_space(path) for path in files)
    assert not belongs_to_space(Path("press.jpg"))
    text = (tmp_path / "page" / "README.md").read_text(encoding="utf-8")
    assert check_card(text, "space") == ([], [])
    settings = metadata_load(tmp_path / "page" / "README.md")
    assert settings["models"] == ["org/autumn"]
    ((model, loaded, commit),) = [entry.split() for entry in settings["preload_from_hub"]]
    assert (model, commit) == ("org/autumn", COMMIT)
    assert loaded.split(",") == ["config.json", "preprocessor_config.json", "model.safetensors"]
    own = metadata_load(ROOT / "space" / "README.md")
    assert own.items() <= settings.items()
    assert re.search(r"^python_version: ['\"]3\.12['\"]$", text, flags=re.MULTILINE), "unquoted it is a number"


def test_zerogpu_gets_a_torch_that_it_accepts(examples, tmp_path):
    build_space(ROOT / "space", tmp_path / "page", "org/autumn", COMMIT, examples, "zero-a10g")
    assert metadata_load(tmp_path / "page" / "README.md")["suggested_hardware"] == "zero-a10g"
    own, changed = (
        (folder / "requirements.txt").read_text().splitlines() for folder in (ROOT / "space", tmp_path / "page")
    )
    assert [line for line in changed if line not in own] == ["torch==2.11.0"]
    assert len(changed) == len(own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("colorFrom: gray", "colorFrom: grey"), "colorFrom is 'grey'; accepted: red, yellow, "),
        (('"3.12"', "3.12"), "python_version is 3.12; accepted: a quoted"),
        (("sdk_version: 6.31.0\n", ""), "sdk_version is missing; accepted: a front matter with it"),
        (
            ("short_description: Colors", "short_description: Invented and plausible colors"),
            "short_description is too",
        ),
    ],
)
def test_settings_that_the_hub_refuses_are_refused_before(examples, tmp_path, change, message):
    page = shutil.copytree(ROOT / "space", tmp_path / "changed")
    text = (page / "README.md").read_text(encoding="utf-8")
    assert change[0] in text
    (page / "README.md").write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(UserError) as error:
        build_space(page, tmp_path / "page", "org/autumn", COMMIT, examples)
    assert str(error.value).startswith(f"{page / 'README.md'}: {message}")


def test_a_branch_is_no_commit(examples, tmp_path):
    with pytest.raises(UserError, match=r"the model's commit is 'main'; accepted: 40 hexadecimal digits$"):
        build_space(ROOT / "space", tmp_path / "page", "org/autumn", "main", examples)


def test_a_page_with_missing_files_is_refused(examples, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"app\.py is missing"):
        build_space(tmp_path / "empty", tmp_path / "page", "org/autumn", COMMIT, examples)
