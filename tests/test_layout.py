"""What must hold of the repository itself: the README's map, tests, the flat Hub room, public names, credits."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

import modeling_chromagan

PACKAGE = ROOT / "modeling_chromagan"
CORE = {"torch", "transformers", "huggingface_hub", "numpy", "PIL", "safetensors", "tqdm"}


def readme_map() -> set[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- map -->\n```text\n(.*?)```", text, flags=re.DOTALL)
    assert block, "README.md has no map"
    paths, folder = set(), ""
    for line in block.group(1).splitlines():
        name = line.split()[0]
        folder = folder if line.startswith("  ") else ""
        if name.endswith("/") and not line.startswith("  "):
            folder = name
        paths.add(name if name == folder else folder + name)
    return paths


def test_every_module_stands_in_the_map_and_the_map_names_nothing_else():
    in_map = readme_map()
    assert len(in_map) > 20
    modules = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    modules |= {path.name for path in ROOT.glob("*.py")}
    modules |= {str(path.relative_to(ROOT)) for path in (ROOT / "recipes").glob("*.yaml")}
    assert modules - in_map == set()
    assert {name for name in in_map if not (ROOT / name).exists()} == set()


# Modules that have no tests of their own, and the tests that hold what they do.
TESTED_ELSEWHERE = {
    "sources/weight_packages.py": "evaluation/test_recognition.py",  # two names, with which a package is found there
    "publishing/upload.py": "test_hub_upload.py",  # over HTTP, by the command that has nothing else to do
}


def test_every_module_has_a_test_file_of_its_name():
    modules = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    modules |= {path.relative_to(ROOT) for path in ROOT.glob("*.py")}
    assert len(modules) > 80
    expected = {str(module): module.with_name(f"test_{module.name}") for module in modules}
    without = {module for module, test in expected.items() if not (ROOT / "tests" / test).is_file()}
    assert without == set(TESTED_ELSEWHERE)
    assert all((ROOT / "tests" / test).is_file() for test in TESTED_ELSEWHERE.values())


def imports_of(path: Path) -> list[tuple[str, int, ast.AST]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(name.name, 0, node) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level, node))
    return found


def hub_room() -> list[Path]:
    """What the Hub's loader copies: everything that a saved model, processor or pipeline imports."""
    room, found = [], ["pipeline_chromagan", "modeling_chromagan", "image_processing_chromagan"]
    while found:
        path = PACKAGE / f"{found.pop()}.py"
        if path not in room:
            room.append(path)
            found += [module for module, level, _ in imports_of(path) if level]
    return sorted(room)


HUB_ROOM = hub_room()


@pytest.mark.parametrize("path", HUB_ROOM, ids=lambda path: path.stem)
def test_what_travels_to_the_hub_is_flat_and_light(path):
    assert len(HUB_ROOM) >= 10
    assert PACKAGE / "cli.py" not in HUB_ROOM
    standard = set(__import__("sys").stdlib_module_names)
    for module, level, node in imports_of(path):
        if level:
            assert level == 1, f"{path.name}: relative import of a parent"
            assert module, f"{path.name}: `from . import x` is not seen by the Hub's loader"
            assert "." not in module, f"{path.name}: {module} is in a sub-folder"
        else:
            top = module.split(".")[0]
            assert top != "modeling_chromagan", f"{path.name}:{node.lineno} imports its own package"
            assert top in CORE or top in standard, f"{path.name}:{node.lineno} makes {top} a requirement for loading"


# A room imports from itself and from those before it. "" is the package's own folder, with what travels to the Hub.
ROOMS = ("", "sources", "archive", "keras_import", "evaluation", "training", "publishing", "scale", "commands", "cli")


def package_imports() -> dict[str, set[str]]:
    """What each module of this package imports of it, inside functions too, by names without the package."""
    modules = {path.relative_to(PACKAGE).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    names = {".".join(relative.parts).removesuffix("__init__").rstrip("."): path for relative, path in modules.items()}
    imported = {}
    for name, path in names.items():
        folder = path.relative_to(PACKAGE).parent.parts
        found = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = folder[: len(folder) - node.level + 1]
                module = ".".join([*base, *([node.module] if node.module else [])])
                inside = {f"{module}.{alias.name}".lstrip(".") for alias in node.names}
                found |= (inside & set(names)) or {module}
        imported[name] = found - {name}
    return imported


def room_of(module: str) -> str:
    return module if module == "cli" else module.rpartition(".")[0].partition(".")[0]


def test_imports_go_one_way():
    imported = package_imports()
    assert len(imported) > 50
    upwards = {
        (module, other)
        for module, others in imported.items()
        for other in others
        if module and ROOMS.index(room_of(other)) > ROOMS.index(room_of(module))
    }
    assert upwards == set()


def test_no_imports_run_in_a_circle():
    imported = {module: {other for other in others if other} for module, others in package_imports().items() if module}
    while imported:
        leaves = {module for module, others in imported.items() if not others & set(imported)}
        assert leaves, f"a circle among {sorted(imported)}"
        imported = {module: others for module, others in imported.items() if module not in leaves}


def test_public_names_are_listed_and_exist():
    assert len(modeling_chromagan.__all__) >= 8
    for name in modeling_chromagan.__all__:
        assert getattr(modeling_chromagan, name) is not None
    assert list(modeling_chromagan.__all__) == sorted(
        modeling_chromagan.__all__, key=lambda name: (not name.isupper(), name)
    )


def test_type_checkers_of_users_read_our_annotations():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert (PACKAGE / "py.typed").is_file()
    assert "py.typed" in settings["tool"]["setuptools"]["package-data"]["modeling_chromagan"]


def test_every_example_is_credited_and_small():
    pictures = [path for path in (ROOT / "examples").iterdir() if path.suffix != ".md"]
    credits = (ROOT / "examples" / "CREDITS.md").read_text(encoding="utf-8")
    assert 4 <= len(pictures) <= 6
    assert all(path.name in credits for path in pictures)
    assert sum(path.stat().st_size for path in pictures) < 2_000_000


def test_packaged_weights_are_safetensors_and_small():
    files = {path.name for path in (PACKAGE / "pretrained").rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= files
    assert (PACKAGE / "pretrained" / "model.safetensors").stat().st_size <= 25_000_000
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt"))]


def test_notice_of_the_weights_ancestor_travels_with_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(settings["project"]["license-files"]) == {"LICENSE", "NOTICE"}
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "EfficientNet-Lite" in notice
    assert "Apache License" in notice
