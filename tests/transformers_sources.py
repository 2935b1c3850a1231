"""transformers' own tests of models, configs and image processors, from its source distribution.

A test file asks for `transformers_tests`, a fixture of conftest.py, makes a test case with one of the mixins as its
base and hands it to `run_suite`. The distribution is that of the installed version, in the folder that
CHROMAGAN_TRANSFORMERS_SOURCES names (unpacked, `tests/` in it) or downloaded with pip.
"""

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import unittest
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import torch

VARIABLE = "CHROMAGAN_TRANSFORMERS_SOURCES"
PACKAGE = "transformers_tests"
# What the mixins import from folders that the distribution leaves out: models that generate text, exports, and the
# settings that every config takes.
ABSENT = {
    f"{PACKAGE}.exporters": {},
    f"{PACKAGE}.exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    f"{PACKAGE}.generation": {},
    f"{PACKAGE}.generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    f"{PACKAGE}.utils": {},
    f"{PACKAGE}.utils.test_configuration_utils": {
        "config_common_kwargs": {
            "return_dict": False,
            "output_hidden_states": True,
            "output_attentions": True,
            "dtype": "float16",
            "chunk_size_feed_forward": 5,
            "architectures": ["BertModel"],
            "problem_type": "regression",
        }
    },
    "fetch_hub_objects_for_ci": {"url_to_local_path": lambda url: url},
}


def find_sources(scratch: Path) -> Path:
    """The folder `tests` of the installed version's source distribution; skips with the reason where there is none."""
    version = importlib.metadata.version("transformers")
    if named := os.environ.get(VARIABLE):
        tests = Path(named) / "tests"
        if not (tests / "test_modeling_common.py").is_file():
            pytest.fail(f"{VARIABLE} is {named}; accepted: an unpacked source distribution of transformers")
        return tests
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
    got = subprocess.run([*command, f"transformers=={version}"], cwd=scratch, capture_output=True, text=True)
    archives = list(scratch.glob("transformers-*.tar.gz"))
    if got.returncode or not archives:
        reason = (got.stderr.strip().splitlines() or ["no archive"])[-1]
        pytest.skip(f"pip gives no source distribution of transformers {version}: {reason}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(scratch, filter="data")
    return scratch / f"transformers-{version}" / "tests"


def import_tests(tests: Path, config: pytest.Config) -> ModuleType:
    """The package of transformers' tests with its three modules of mixins; skips where one cannot be imported."""
    pytest.importorskip("parameterized", reason="transformers' tests need parameterized")
    package = ModuleType(PACKAGE)
    package.__path__ = [str(tests)]
    sys.modules[PACKAGE] = package
    for name, values in ABSENT.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(values)
    (tests / "__init__.py").touch()  # test_configuration_common loads it to reach transformers itself
    modules = ("test_modeling_common", "test_configuration_common", "test_image_processing_common")
    for mark in {
        mark for name in modules for mark in re.findall(r"\bmark\.(\w+)", (tests / f"{name}.py").read_text())
    }:
        config.addinivalue_line("markers", f"{mark}: of transformers' tests")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in modules:
            importlib.import_module(f"{PACKAGE}.{name}")
    return package


def run_suite(case: type[unittest.TestCase], skips: dict[str, str]) -> None:
    """Runs all tests of `case` but those that `skips` names, with the reason; fails with every failure's traceback.

    A name in `skips` that `case` has no test of, or whose test passes, is a failure too.
    """
    names = unittest.defaultTestLoader.getTestCaseNames(case)
    failures = [f"{name} is skipped and is no test" for name in skips if name not in names]
    passed = 0
    for name in names:
        result = unittest.TestResult()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            case(name).run(result)
        broken = [f"{name}\n{trace}" for _, trace in (*result.failures, *result.errors)]
        if name in skips:
            failures += [] if broken or result.skipped else [f"{name} is skipped and passes"]
        else:
            failures += broken
            passed += not broken and not result.skipped
    assert not failures, f"{passed} passed, {len(failures)} did not:\n" + "\n".join(failures)
    assert passed, "everything was skipped"
