"""A run becomes the folder of a repository: complete, loadable with and without the package, nothing else in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_layout import HUB_ROOM
from transformers import AutoModel

from modeling_chromagan import ChromaGANCritic, ChromaGANGenerator, ChromaGANPipeline, cli
from modeling_chromagan.errors import UserError
from modeling_chromagan.publishing.release_folder import build_release, list_files
from modeling_chromagan.training.run.checkpoint import Manifest, describe, find_training_state

NAME = "org/autumn"
WITHOUT_PACKAGE = """
import sys
sys.modules["modeling_chromagan"] = None
import numpy as np, torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageToImage, pipeline
folder, picture, result = sys.argv[1:]
trust = {"trust_remote_code": True}
config = AutoConfig.from_pretrained(folder, **trust)
generator = AutoModelForImageToImage.from_pretrained(folder, **trust)
again = AutoModel.from_pretrained(folder, **trust)
critic = AutoModel.from_pretrained(folder, subfolder="critic", **trust)
processor = AutoImageProcessor.from_pretrained(folder, **trust)
kinds = [type(part).__name__ for part in (config, generator, again, critic, processor)]
print(*kinds, generator.dtype, critic.dtype)
pipe = pipeline("image-to-image", model=folder, dtype=torch.float32, **trust)
np.save(result, np.asarray(pipe(picture)))
"""


@pytest.fixture
def release(evaluated_run, quick_release, tmp_path) -> Path:
    folder = tmp_path / "release"
    build_release(evaluated_run, folder, NAME, examples=quick_release, training_checkpoint=True)
    return folder


@pytest.fixture
def run_copy(evaluated_run, quick_release, tmp_path) -> Path:
    """A run that tests may damage."""
    return shutil.copytree(evaluated_run, tmp_path / "run")


def refusal(source: Path, tmp_path: Path, **options) -> str:
    """What a build says that must leave nothing behind."""
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError) as error:
        build_release(source, tmp_path / "refused", NAME, **options)
    assert set(tmp_path.iterdir()) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def change_tensor(path: Path, value: float) -> None:
    tensors = load_file(path)
    name = next(name for name, tensor in sorted(tensors.items()) if tensor.ndim == 4)
    tensors[name].view(-1)[3] = value
    save_file(tensors, path, {"format": "pt"})


def test_a_release_is_complete_and_holds_nothing_else(release, evaluated_run):
    files = {str(path) for path in list_files(release)}
    expected = {"README.md", "LICENSE", "NOTICE", "config.json", "preprocessor_config.json", "model.safetensors"}
    expected |= {"critic/config.json", "critic/model.safetensors", "onnx/model.onnx", "onnx/model_fp16.onnx"}
    expected |= {"recipe.yaml", "examples.jpg", "evaluation/tiny64-set-split-valid.json"}
    expected |= {path.name for path in HUB_ROOM}
    checkpoint = {file for file in files if file.startswith("training/checkpoint-00000004/")}
    assert files == expected | checkpoint
    assert len(checkpoint) == len(list((evaluated_run / "checkpoint-00000004").iterdir()))
    assert all((release / path.name).read_bytes() == path.read_bytes() for path in HUB_ROOM)


def test_weights_are_float16_but_for_running_statistics(release):
    for part in ("", "critic"):
        for name, tensor in load_file(release / part / "model.safetensors").items():
            exact = "running_" in name and not part
            assert tensor.dtype in ({torch.float32} if exact else {torch.float16, torch.int64}), name


@pytest.mark.slow  # a fresh process
def test_it_gives_the_run_s_picture_with_and_without_the_package(release, evaluated_run, tmp_path):
    Image.radial_gradient("L").resize((150, 97)).save(tmp_path / "gray.png")
    trained = np.asarray(ChromaGANPipeline.from_pretrained(evaluated_run / "model")(str(tmp_path / "gray.png")))
    with_package = np.asarray(ChromaGANPipeline.from_pretrained(release)(str(tmp_path / "gray.png")))
    assert np.abs(with_package.astype(int) - trained).max() <= 1
    assert np.ptp(trained.astype(int), axis=2).max() > 2, "nothing was colored"
    arguments = [release, tmp_path / "gray.png", tmp_path / "result.npy"]
    loaded = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True
    )
    assert loaded.returncode == 0, loaded.stderr
    generator = "ChromaGANGenerator"
    names = ["ChromaGANConfig", generator, generator, "ChromaGANCritic", "ChromaGANImageProcessor"]
    assert loaded.stdout.split() == [*names, "torch.float32", "torch.float32"]
    assert np.array_equal(np.load(tmp_path / "result.npy"), with_package)


def test_the_critic_loads_with_the_package(release):
    for loader in (ChromaGANCritic, AutoModel):
        critic = loader.from_pretrained(release, subfolder="critic", dtype=torch.float32)
        assert torch.isfinite(critic(torch.rand(1, 3, 32, 32)).scores).all()
    assert type(AutoModel.from_pretrained(release)) is ChromaGANGenerator


def test_nothing_tells_where_things_lay(release, evaluated_run, small_data):
    names = {str(evaluated_run.parent), str(small_data.parent), str(Path.home())}
    for path in list_files(release):
        content = (release / path).read_bytes()
        assert not [name for name in names if len(name) > 5 and name.encode() in content], path


def test_the_published_checkpoint_is_one_that_training_goes_on_from(release):
    checkpoint, damaged = find_training_state(str(release))
    assert (checkpoint.name, damaged) == ("checkpoint-00000004", [])


def test_equal_runs_give_equal_bytes(release, evaluated_run, quick_release, tmp_path):
    again = tmp_path / "again"
    build_release(evaluated_run, again, NAME, examples=quick_release, training_checkpoint=True)
    assert list_files(again) == list_files(release)
    assert [path for path in list_files(again) if (again / path).read_bytes() != (release / path).read_bytes()] == []


def test_an_earlier_release_is_replaced_and_other_folders_are_not(release, run_copy, quick_release, tmp_path):
    build_release(run_copy, release, NAME, examples=quick_release)
    assert not (release / "training").exists()
    diary = tmp_path / "diary"
    diary.mkdir()
    (diary / "monday.txt").write_text("rain")
    with pytest.raises(UserError, match=r"is there and no release; accepted: a new folder, or an earlier release$"):
        build_release(run_copy, diary, NAME)
    assert (diary / "monday.txt").read_text() == "rain"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["", "critic"])
def test_weights_that_are_not_finite_are_refused(run_copy, tmp_path, part, value):
    change_tensor(run_copy / "model" / part / "model.safetensors", value)
    message = refusal(run_copy, tmp_path)
    if part:
        assert message.startswith("critic/model.safetensors: network.")
        assert message.endswith(" is not finite; accepted: weights of a training that went well")
    else:
        start = f"{run_copy / 'model'} cannot be loaded: 1 of its weights are not finite, network."
        assert message.startswith(start)


def test_critics_too_large_for_float16_are_refused(run_copy, tmp_path):
    change_tensor(run_copy / "model" / "critic" / "model.safetensors", 1e6)
    assert "is not finite in float16, whose largest number is 65,504" in refusal(run_copy, tmp_path)


def test_a_checkpoint_that_is_not_finite_is_refused_where_it_is_asked_for(run_copy, quick_release, tmp_path):
    checkpoint = run_copy / "checkpoint-00000004"
    change_tensor(checkpoint / "generator.safetensors", float("nan"))
    manifest = Manifest.model_validate_json((checkpoint / "manifest.json").read_bytes())
    manifest.files["generator.safetensors"] = describe(checkpoint / "generator.safetensors")
    (checkpoint / "manifest.json").write_text(manifest.model_dump_json())
    assert "checkpoint-00000004/generator.safetensors: " in refusal(run_copy, tmp_path, training_checkpoint=True)
    build_release(run_copy, tmp_path / "release", NAME, examples=quick_release)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "old.pt", "critic/a.pth", "b.ckpt", "deep/er/c.pkl"])
def test_pickles_are_refused(run_copy, tmp_path, name):
    path = run_copy / "model" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(b"\x80\x04.")
    message = refusal(run_copy, tmp_path)
    assert message == f"{path}: a pickle can run code when it is opened; accepted: safetensors files"


@pytest.mark.parametrize("name", ["notes.txt", ".env", "evil.py", "critic/family.jpg", "photographs/1.jpg"])
def test_files_that_belong_to_no_model_are_refused(run_copy, tmp_path, name):
    path = run_copy / "model" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    assert refusal(run_copy, tmp_path).startswith(f"{path}: is no file of a model; accepted in ")


def test_a_link_out_of_the_model_is_refused(run_copy, tmp_path):
    (run_copy / "model" / "README.md").symlink_to("/etc/hostname")
    assert "README.md: is no file of a model" in refusal(run_copy, tmp_path)


def test_a_run_without_evaluation_is_refused_with_the_command_that_makes_one(run_copy, tmp_path):
    shutil.rmtree(run_copy / "evaluation")
    message = refusal(run_copy, tmp_path)
    assert message == (
        f"{run_copy / 'evaluation'}: holds no evaluation; accepted: results of `chromagan evaluate --model "
        f"{run_copy / 'model'} -o {run_copy / 'evaluation'}`, there or by --evaluation"
    )


def test_evaluations_of_other_weights_are_refused(run_copy, small_model, small_data, tmp_path):
    arguments = ["--model", small_model, "--data", small_data, "--classifier", "none", "-o", tmp_path / "other"]
    assert cli.main(["evaluate", *map(str, arguments)]) == 0
    message = refusal(run_copy, tmp_path, evaluations=[tmp_path / "other"])
    assert message == (
        f"{tmp_path / 'other' / 'results.json'}: measures other weights ({small_model}); accepted: an evaluation of "
        "this model"
    )


@pytest.mark.parametrize("text", ["{}", "[1, 2]", "no json", '{"rows": []}', '{"rows": [1, 2], "data": "x"}'])
def test_damaged_results_are_refused(run_copy, tmp_path, text):
    (run_copy / "evaluation" / "results.json").write_text(text)
    assert "is no results.json of `chromagan evaluate`" in refusal(run_copy, tmp_path)


def test_the_same_measurement_twice_is_refused(run_copy, tmp_path):
    results = run_copy / "evaluation"
    assert "a second time; accepted: one result of each" in refusal(run_copy, tmp_path, evaluations=[results, results])


def test_folders_without_a_model_are_refused(tmp_path):
    accepted = "accepted: a run folder or a model folder"
    assert refusal(tmp_path / "none", tmp_path).endswith(f"there is no such folder; {accepted}")
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty", tmp_path).endswith(f"holds no model, config.json is missing; {accepted}")


def test_a_model_folder_has_no_checkpoint_to_publish(run_copy, tmp_path):
    message = refusal(run_copy / "model", tmp_path, evaluations=[run_copy / "evaluation"], training_checkpoint=True)
    assert message.endswith("holds no checkpoint; accepted: a run folder")
