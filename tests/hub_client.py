"""Clients of the loopback Hub of `hub_server.py`: in this process, and in fresh ones."""

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from conftest import ROOT
from hub_server import LoopbackHub
from transformers.utils import hub as transformers_hub

BLOCK = """
import sys
from importlib.abc import MetaPathFinder
class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "modeling_chromagan":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def use_here(hub: LoopbackHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this process's client ask the loopback Hub, with an empty cache and without a token."""
    constants = huggingface_hub.constants
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "AGENT_HARNESSES_PATH": str(home / "agent_harnesses.json"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.endpoint)
    monkeypatch.setattr(transformers_hub, "_hf_api", None)  # made anew with that endpoint
    huggingface_hub.utils.disable_progress_bars()


def environment(hub: LoopbackHub, home: Path, token: str | None = None, **variables: str) -> dict[str, str]:
    """Of a process whose client asks the loopback Hub."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    for name in ("PYTHONPATH", "HUGGING_FACE_HUB_TOKEN", "CHROMAGAN_MODEL"):
        inherited.pop(name, None)
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": str(ROOT)}
    return inherited | settings | ({"HF_TOKEN": token} if token else {}) | variables


def run_python(
    hub: LoopbackHub,
    home: Path,
    code: str,
    *arguments: object,
    package: bool = True,
    token: str | None = None,
    timeout: float = 300,
    **variables: str,
) -> subprocess.CompletedProcess:
    """Runs code in a fresh process in the folder `home`, where the cache of the Hub lies too.

    Args:
        hub: that the process asks.
        home: folder to run in.
        code: Python; finds `arguments` in `sys.argv[1:]`.
        package: whether this package can be imported; `False` is as where it is not installed.
        token: to show to the Hub.
        timeout: in seconds.
        variables: of the environment, besides.
    """
    home.mkdir(parents=True, exist_ok=True)
    code = code if package else BLOCK + code
    command = [sys.executable, "-c", code, *map(str, arguments)]
    settings = environment(hub, home, token, **variables)
    return subprocess.run(command, cwd=home, env=settings, capture_output=True, text=True, timeout=timeout)


def run_chromagan(hub: LoopbackHub, home: Path, *arguments: object, **options: object) -> subprocess.CompletedProcess:
    """Runs the command `chromagan` as `run_python` does."""
    code = "import sys; from modeling_chromagan.cli import main; sys.exit(main(sys.argv[1:]))"
    return run_python(hub, home, code, *arguments, **options)
