"""ONNX files beside PyTorch: the same colors at any size, from ONNX Runtime, which knows nothing of this package."""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from small_generators import build
from test_contract import Foreign

from modeling_chromagan import (
    GENERATORS,
    PACKAGED_WEIGHTS,
    ChromaGANConfig,
    ChromaGANGenerator,
    ChromaGANImageProcessor,
    ChromaGANPipeline,
    __version__,
    cli,
)
from modeling_chromagan.color import encode_luminance, gray_to_lightness, reconstruction_to_ab
from modeling_chromagan.errors import SettingError, UserError
from modeling_chromagan.sources.models import load_generator

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from modeling_chromagan.publishing import onnx_export  # noqa: E402 - it needs what may not be there

BATCHES = [
    (1, 16, 16),
    (2, 33, 47),
    (1, 75, 101),
    (3, 17, 5),
    (1, 2, 90),
    (1, 1, 7),
    (2, 1, 1),
]  # count, height, width
PICTURES = sorted(path.name for path in (ROOT / "examples").glob("*.jpg"))
ODD_SIZES = [(97, 131), (320, 451), (33, 200), (215, 149), (64, 95), (111, 77)]
DRAWN_SIZES = [(1, 1), (1, 7), (5, 3), (129, 65)]


def save(generator: ChromaGANGenerator, folder: Path) -> Path:
    generator.save_pretrained(folder)
    ChromaGANImageProcessor(encoding=generator.config.encoding, size=64).save_pretrained(folder)
    return folder


def milder(generator: ChromaGANGenerator) -> ChromaGANGenerator:
    """With paler colors: those of random weights lie far outside of sRGB, where rounding counts a hundred times."""
    with torch.no_grad():
        last = getattr(generator.network, "chroma", None) or generator.network.color
        last.weight.mul_(0.1)
    return generator


def grays(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).random((count, 1, height, width), dtype=np.float32)


@functools.lru_cache(1)
def open_session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as many test processes as cores: threads beside them wait in a loop
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def run(file: Path, gray: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(file)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"gray": gray}), strict=True))


def expected(generator: ChromaGANGenerator, gray: np.ndarray) -> dict[str, np.ndarray]:
    """What the generator answers, which pads by itself, but for sides that it finds too short: these are reflected."""
    network, encoding = generator.network, generator.config.encoding
    height, width = gray.shape[-2:]
    x = encode_luminance(gray_to_lightness(torch.from_numpy(gray)), encoding).numpy()
    if min(height, width) < network.minimum_size:
        sides = [max(side, network.minimum_size) for side in (height, width)]
        pads = [(0, side + -side % network.size_multiple - n) for side, n in zip(sides, (height, width), strict=True)]
        x = np.pad(x, [(0, 0), (0, 0), *pads], mode="reflect")  # on and on, and sides of one pixel repeated
    x = torch.from_numpy(x)
    with torch.no_grad():
        output = generator(x)
    outputs = {"ab": reconstruction_to_ab(output.reconstruction, encoding)[..., :height, :width].numpy()}
    if output.bin_logits is not None:
        outputs["bins"] = output.bin_logits[..., : -(-height // 4), : -(-width // 4)].numpy()
    if output.logits is not None:
        outputs["classes"] = output.logits.numpy()
    return outputs


def check(file: Path, generator: ChromaGANGenerator, gray: np.ndarray, ab: float, logits: float) -> None:
    """Asserts that a file answers as the generator does, to `ab` Lab units and `logits`."""
    answers, wanted = run(file, gray), expected(generator, gray)
    assert answers.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert answers[name].shape == tensor.shape
        assert answers[name].dtype == np.float32
        np.testing.assert_allclose(answers[name], tensor, rtol=0, atol=ab if name == "ab" else logits, err_msg=name)


@pytest.fixture
def foreign(monkeypatch, tmp_path) -> Path:
    """A model of one small generator from outside the package, which is exported in seconds."""
    monkeypatch.setitem(GENERATORS, "foreign", Foreign)
    torch.manual_seed(0)
    return save(ChromaGANGenerator(ChromaGANConfig(architecture="foreign")), tmp_path / "foreign")


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.usefixtures("extractors")
def test_what_is_exported_pads_and_answers_as_the_package(name):
    generator = milder(build(name))
    module = onnx_export.GrayToAb(generator).eval()
    for batch in BATCHES:
        gray = grays(*batch)
        with torch.no_grad():
            answers = dict(zip(onnx_export.output_names(module), module(torch.from_numpy(gray)), strict=True))
        wanted = expected(generator, gray)
        assert answers.keys() == wanted.keys()
        for key, tensor in wanted.items():
            np.testing.assert_allclose(answers[key].numpy(), tensor, rtol=0, atol=1e-4, err_msg=key)


@pytest.mark.slow
def test_the_command_exports_a_generator_from_outside(foreign, tmp_path, capsys):
    (foreign / "README.md").write_text("---\nlicense: cc0-1.0\n---\n", encoding="utf-8")
    out = tmp_path / "deep" / "out"
    assert cli.main(["export", str(foreign), "-o", str(out)]) == 0
    assert re.fullmatch(
        rf"{re.escape(str(out))}/model\.onnx: \d\.\d MB, float32, \S+ Lab units from PyTorch at most\n",
        capsys.readouterr().out,
    )
    assert [path.name for path in out.iterdir()] == ["model.onnx"]
    generator = load_generator(foreign)
    for batch in BATCHES:
        check(out / "model.onnx", generator, grays(*batch), ab=1e-3, logits=0)

    onnx.checker.check_model(out / "model.onnx", full_check=True)
    model = onnx.load(out / "model.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["license"] == "cc0-1.0"
    assert said["encoding"].startswith("unit8")
    assert json.loads(said["working_size"]) == {"shortest_edge": 64, "longest_edge": 256}
    assert said["size_multiple"].startswith("6,")
    assert said["chromagan_version"] == model.producer_version == __version__
    assert said["weights_sha256"] == hashlib.sha256((foreign / "model.safetensors").read_bytes()).hexdigest()
    for value, channels in zip([*model.graph.input, *model.graph.output], (1, 2), strict=True):
        sides = [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        assert sides == ["batch", channels, "height", "width"]


@pytest.mark.slow
def test_equal_weights_give_equal_bytes_that_name_no_place_of_this_machine(foreign, tmp_path):
    one, other = (onnx_export.export_onnx(foreign, tmp_path / name, float16=True) for name in ("one", "other"))
    assert one.name == "model_fp16.onnx"
    assert one.read_bytes() == other.read_bytes()
    for place in (str(tmp_path), str(ROOT), "site-packages", ".py"):
        assert place.encode() not in one.read_bytes()


def test_what_differs_from_pytorch_is_not_written(foreign, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "trace", lambda module: drawn_graph())
    refusal = r"foreign: its float32 graph is [\d.]+ Lab units away from PyTorch; accepted: at most 0\.05$"
    with pytest.raises(UserError, match=refusal):
        onnx_export.export_onnx(foreign, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interruption_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")

    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        onnx_export.write(b"new", target)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.onnx": b"old"}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^{re.escape(str(tmp_path))}/file/model.onnx: cannot be written: "):
        onnx_export.write(b"", tmp_path / "file" / "model.onnx")


def test_what_fits_in_no_file_is_refused_before_any_work(foreign, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "trace", lambda module: pytest.fail("it was exported"))
    monkeypatch.setattr(onnx_export, "MOST_BYTES", 100)
    with pytest.raises(
        SettingError, match=r"foreign: its weights take \d+ bytes in float32; accepted for ONNX: .* 100$"
    ):
        onnx_export.export_onnx(foreign, tmp_path / "out")


def test_random_numbers_are_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "trace", lambda module: pytest.fail("it was exported"))
    model = save(build("pix2pix_unet", dropout_at_inference=True), tmp_path / "model")
    with pytest.raises(SettingError, match=r"model: dropout_at_inference is true, .*accepted for ONNX: false$"):
        onnx_export.export_onnx(model, tmp_path / "out")


def drawn_graph():
    """gray, squared, through a convolution, and two more with a ReLU between, doubled; also what the second gives."""
    make, floats = onnx.helper.make_node, onnx.TensorProto.FLOAT
    kernels = {"j": 0.9999, "k": 1.0001, "l": -0.3}
    tensors = [onnx.numpy_helper.from_array(np.full((1, 1, 1, 1), k, np.float32), name) for name, k in kernels.items()]
    tensors.append(onnx.numpy_helper.from_array(np.float32(2), "two"))
    nodes = [
        make("Mul", ["gray", "gray"], ["square"], "square"),
        make("Conv", ["square", "j"], ["enter"], "first"),
        make("Conv", ["enter", "k"], ["classes"], "second"),
        make("Relu", ["classes"], ["relu"], "relu"),
        make("Conv", ["relu", "l"], ["chroma"], "third"),
        make("Mul", ["chroma", "two"], ["ab"], "double"),
    ]
    gray, *inner, ab, classes = (
        onnx.helper.make_tensor_value_info(name, floats, ["batch", 1, "height", "width"])
        for name in ("gray", "square", "enter", "relu", "chroma", "ab", "classes")
    )
    graph = onnx.helper.make_graph(nodes, "drawn", [gray], [ab, classes], tensors, value_info=inner)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def test_float16_rounds_the_network_and_nothing_else():
    from onnx.reference import ReferenceEvaluator  # not ONNX Runtime, which on a CPU computes float16 in float32

    half = onnx_export.in_float16(drawn_graph())
    onnx.checker.check_model(half, full_check=True)
    types = {tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in half.graph.initializer}
    assert types == {"two": "FLOAT", "j": "FLOAT", "k_float16": "FLOAT16", "l_float16": "FLOAT16"}
    gray = np.linspace(0, 1, 1001, dtype=np.float32)[None, None, None]
    ab, classes = ReferenceEvaluator(half).run(["ab", "classes"], {"gray": gray})
    entered = (np.float32(0.9999) * gray**2).astype(np.float16)
    second = (np.float16(1.0001).astype(np.float32) * entered).astype(np.float16)
    np.testing.assert_array_equal(classes, second.astype(np.float32))
    third = (np.float16(-0.3).astype(np.float32) * np.maximum(second, 0)).astype(np.float16)
    np.testing.assert_array_equal(ab, 2 * third.astype(np.float32))


# chromagan_lite is what the packaged weights are, below; the graphs of labnet and preres are those of others.
EXPORTED = [name for name in GENERATORS if name not in ("chromagan_lite", "labnet", "preres")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "encoding"), [*((name, "unit8") for name in EXPORTED), ("basic", "symmetric")])
@pytest.mark.usefixtures("extractors")
def test_every_generator_answers_as_in_pytorch(name, encoding, tmp_path):
    """And those that are not exported here: `test_what_is_exported_pads_and_answers_as_the_package` has them all."""
    generator = milder(build(name, encoding=encoding))
    file = onnx_export.export_onnx(save(generator, tmp_path / "model"), tmp_path)
    for batch in BATCHES:
        check(file, generator, grays(*batch), ab=1e-3, logits=0.02)  # logits of random weights are large


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "ab", "logits"), [("float32", 1e-3, 1e-3), ("float16", 0.5, 0.5)])
def test_packaged_weights_answer_as_in_pytorch(packaged_graphs, precision, ab, logits):
    generator = load_generator(PACKAGED_WEIGHTS)
    for name, (height, width) in zip(PICTURES, ODD_SIZES, strict=True):
        with Image.open(ROOT / "examples" / name) as picture:
            gray = np.asarray(picture.convert("L").resize((width, height)), np.float32) / 255
        check(packaged_graphs[precision], generator, gray[None, None], ab, logits)
    for size in DRAWN_SIZES:
        check(packaged_graphs[precision], generator, grays(2, *size), ab, logits)


@pytest.mark.slow
def test_packaged_float16_file_is_small(packaged_graphs):
    assert packaged_graphs["float16"].stat().st_size <= 26_000_000
    assert packaged_graphs["float32"].stat().st_size <= 50_000_000


@pytest.mark.slow
def test_lines_of_the_page_give_the_picture_of_the_package(packaged_graphs, tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "onnx").symlink_to(packaged_graphs["float32"].parent)
    without_package = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=without_package, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "modeling_chromagan" not in block
    picture = ChromaGANPipeline.from_pretrained(PACKAGED_WEIGHTS)("examples/saratoga-1900-1915.jpg")
    with Image.open(tmp_path / "saratoga.png") as written:
        difference = np.asarray(written).astype(int) - np.asarray(picture)
    assert np.abs(difference).max() <= 2
