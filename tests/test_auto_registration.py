"""Transformers' auto classes know ours after `import modeling_chromagan`, whichever import comes first."""

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

LOAD = """
assert AutoConfig.from_pretrained(folder).__class__.__module__ == "modeling_chromagan.configuration_chromagan"
"""
LOAD_ALL = f"""
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageToImage
{LOAD}
processor, model = (auto.from_pretrained(folder) for auto in (AutoImageProcessor, AutoModelForImageToImage))
assert type(processor).__module__ == "modeling_chromagan.image_processing_chromagan", type(processor)
assert type(model).__module__ == "modeling_chromagan.modeling_chromagan", type(model)
generator, critic = AutoModel.from_pretrained(folder), AutoModel.from_pretrained(folder, subfolder="critic")
assert [type(model).__name__ for model in (generator, critic)] == ["ChromaGANGenerator", "ChromaGANCritic"]
"""
ORDERS = {
    "ours first": f"import modeling_chromagan; assert 'torch' not in sys.modules; {LOAD_ALL}",
    "transformers first": f"import transformers, modeling_chromagan; {LOAD_ALL}",
    "auto classes first": f"from transformers import AutoModelForImageToImage; import modeling_chromagan; {LOAD_ALL}",
    "a model first": f"import modeling_chromagan; modeling_chromagan.ChromaGANGenerator; {LOAD_ALL}",
    "one auto class alone": f"import modeling_chromagan; from transformers import AutoConfig; {LOAD}",
    "another model first": f"import modeling_chromagan; from transformers import PreTrainedModel; {LOAD_ALL}",
}


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_auto_classes_load_our_folders_without_remote_code(model_folder, tmp_path, order):
    from modeling_chromagan import ChromaGANConfig, ChromaGANCritic

    shutil.copytree(model_folder, tmp_path / "model")
    ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=0.0625)).save_pretrained(tmp_path / "model" / "critic")
    code = f"import sys; folder = sys.argv[1]; {ORDERS[order]}"
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_public_names_are_imported_when_they_are_used():
    code = """
import sys, modeling_chromagan
assert "modeling_chromagan.errors" not in sys.modules
names = modeling_chromagan.__all__
assert set(names) <= set(dir(modeling_chromagan))
assert modeling_chromagan.ImageLoadError.__module__ == "modeling_chromagan.errors"
assert "torch" not in sys.modules
from modeling_chromagan import *
assert all(globals()[name] is getattr(modeling_chromagan, name) for name in names)
try:
    modeling_chromagan.nothing
except AttributeError as error:
    assert str(error) == "module 'modeling_chromagan' has no attribute 'nothing'"
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
