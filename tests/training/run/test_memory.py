"""A batch that cannot fit is refused, one that may fit never is."""

import pytest
import torch
from debug_run import RECIPE

from modeling_chromagan import ChromaGANGenerator
from modeling_chromagan.errors import SettingError
from modeling_chromagan.training.recipe import load_recipe
from modeling_chromagan.training.run import memory
from modeling_chromagan.training.run.memory import OutOfMemory, refuse_oversized_batches, report_lack_of_memory

CPU = torch.device("cpu")
GIBIBYTE = 2**30


def recipe_of(*settings: str):
    return load_recipe(RECIPE, settings)


def test_the_least_is_what_a_real_generator_keeps():
    """To the byte, for the pictures of a batch; what is kept once for all of them does not count."""
    recipe = recipe_of("model.class_head=false")
    generator = ChromaGANGenerator(recipe.build_config()).eval()
    kept = [memory.bytes_kept(generator, torch.zeros(count, 1, 48, 64)) for count in (2, 5)]
    least = memory.least_bytes(recipe, 48, 64)
    assert 3 * least == pytest.approx(kept[1] - kept[0] + 3 * 20 * 48 * 64)
    assert least > 100 * 48 * 64
    assert memory.least_bytes(recipe_of("compile=true"), 48, 64) == 20 * 48 * 64


def test_both_figures_and_what_would_do_are_said(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 20 * GIBIBYTE)
    monkeypatch.setattr(memory, "least_bytes", lambda recipe, height, width: 2**20 - 3 * height * width)
    with pytest.raises(SettingError) as refused:
        refuse_oversized_batches(recipe_of("phases.0.batches.0.batch_size=30000"), CPU, 1)
    assert str(refused.value) == (
        "phases.0.batches.0.batch_size is 30000: a step takes at least 29.3 GiB, 20.0 GiB are free; accepted: less "
        "than 20,480, or more parts (accumulation)"
    )
    refuse_oversized_batches(recipe_of("phases.0.batches.0.batch_size=20000"), CPU, 1)


def test_processes_of_a_machine_share_its_memory_but_not_that_of_a_gpu(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 20 * GIBIBYTE)
    monkeypatch.setattr(memory, "least_bytes", lambda recipe, height, width: 2**20)
    recipe = recipe_of("phases.0.batches.0.batch_size=30000")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(SettingError):
        refuse_oversized_batches(recipe, CPU, 2)
    refuse_oversized_batches(recipe, torch.device("cuda"), 2)
    refuse_oversized_batches(recipe, CPU, 4)  # two machines


def test_nothing_is_refused_where_it_is_not_known_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    refuse_oversized_batches(recipe_of("phases.0.batches.0.batch_size=1000000000"), CPU, 1)
    assert memory.free_memory(torch.device("meta")) is None


@pytest.mark.parametrize(
    ("limit", "free"), [("max", 9 * GIBIBYTE), (str(5 * GIBIBYTE), 4 * GIBIBYTE), (None, 9 * GIBIBYTE)]
)
def test_free_is_what_the_machine_and_the_container_leave(tmp_path, monkeypatch, limit, free):
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable: 8388608 kB\nSwapFree: 1048576 kB\n")
    if limit:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{3 * GIBIBYTE}\n")
        (tmp_path / "memory.stat").write_text(f"anon {GIBIBYTE}\nfile {2 * GIBIBYTE}\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    assert memory.free_memory(CPU) == free
    (tmp_path / "meminfo").unlink()
    assert memory.free_memory(CPU) is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error):
    with pytest.raises(OutOfMemory, match=r"^out of memory: .*; a smaller batch_size"), report_lack_of_memory():
        raise error
    with pytest.raises(RuntimeError, match=r"^mat1"), report_lack_of_memory():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
