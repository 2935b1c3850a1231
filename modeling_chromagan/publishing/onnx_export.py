"""A generator as an ONNX file: one graph from gray values to ab, which any runtime runs without this package.

gray -> CIE L -> encoded -> padded -> the network -> cropped -> decoded -> ab
"""

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .. import __version__
from ..color import encode_luminance, gray_to_lightness, reconstruction_to_ab
from ..durable_files import write_file
from ..errors import SettingError, UserError, first_line
from ..layers import BINS_STRIDE
from ..sources.models import ModelSource, download_model, load_generator, load_image_processor, locate_model

if TYPE_CHECKING:
    import onnx

    from ..modeling_chromagan import ChromaGANGenerator

OPSET = 18  # of 2022: older runtimes, those of browsers among them, know it
MOST_BYTES = 2_000_000_000  # of the weights: a file is one message of Protocol Buffers, which end at two gigabytes
EXTRA = ("onnx", "onnxscript", "onnxruntime")
FILES = {"float32": "model.onnx", "float16": "model_fp16.onnx"}
# Lab units that an export may be away from PyTorch before it is refused. Packaged weights are away by 1e-4 and 0.1;
# weights of large slopes, such as random ones, by more.
TOLERANCES = {"float32": 0.05, "float16": 0.5}
# Operations with weights: of a float16 graph, the first of them, what comes before it and after the last stay float32.
WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")


class ExportedGraph(NamedTuple):
    """A written file; `difference` is how far its ab were from PyTorch's at most, in Lab units."""

    path: Path
    precision: str
    difference: float


class GrayToAb(nn.Module):
    """All that lies between gray values and ab, as one module: what is exported."""

    def __init__(self, generator: "ChromaGANGenerator"):
        super().__init__()
        self.network = generator.network
        self.encoding = generator.config.encoding

    def forward(self, gray: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`gray`: sRGB-coded, 0..1, (B, 1, H, W), any size from 1x1; ab, and bins and classes where there are any."""
        height, width = gray.shape[-2:]
        luminance = encode_luminance(gray_to_lightness(gray), self.encoding)  # (B, 1, H, W)
        output = self.network.predict(self.pad(luminance))
        ab = reconstruction_to_ab(output.reconstruction, self.encoding)[..., :height, :width]  # (B, 2, H, W)
        outputs = [ab]
        if output.bin_logits is not None:
            rows, columns = ((size + BINS_STRIDE - 1) // BINS_STRIDE for size in (height, width))
            outputs.append(output.bin_logits[..., :rows, :columns])  # (B, 260, H/4, W/4)
        if output.class_logits is not None:
            outputs.append(output.class_logits)  # (B, num_labels)
        return tuple(outputs)

    def pad(self, luminance: torch.Tensor) -> torch.Tensor:
        """As `layers.reflect_to_multiple`, in a graph whose sizes are not known; sides of one pixel are repeated."""
        multiple = self.network.size_multiple
        for axis in (2, 3):
            size = luminance.shape[axis]
            least = torch.sym_max(size, self.network.minimum_size)
            places = torch.arange(multiple * ((least + multiple - 1) // multiple))
            # A reflection that is reflected again runs back and forth: 0 1 2 1 0 1 2 1 ...
            period = torch.full((1,), torch.sym_max(2 * (size - 1), 1))
            places = torch.remainder(places, period)
            luminance = luminance.index_select(axis, torch.minimum(places, period - places))
        return luminance


def export_onnx(model: ModelSource | str | os.PathLike, folder: str | os.PathLike, *, float16: bool = False) -> Path:
    """Writes a generator as `model.onnx`, or `model_fp16.onnx` with half the bytes.

    The graph takes `gray`, float32 (batch, 1, height, width), sRGB-coded gray values in 0..1 of pictures at the size
    that the network is to see, from 1x1 upwards, and gives `ab`, float32 (batch, 2, height, width), CIE Lab units, and
    where the generator has them `bins`, float32 (batch, 260, height/4, width/4), and `classes`, float32
    (batch, num_labels), both logits. Equal weights give equal bytes.

    Args:
        model: a folder, a Hub id, or what `locate_model` made of one.
        folder: made where it is missing; a file of the same name is replaced, once the new one is complete.
        float16: weights and network in float16. Inputs, outputs and the color arithmetic stay float32.

    Raises:
        SettingError: if the extra `onnx` is not installed, or the generator cannot be exported.
        ModelError: naming the model and what is wrong with it.
        UserError: if ONNX Runtime does not give what PyTorch gives, or the file cannot be written.
    """
    return export_graphs(model, folder, ("float16" if float16 else "float32",))[0].path


def export_graphs(
    model: ModelSource | str | os.PathLike,
    folder: str | os.PathLike,
    precisions: Sequence[str] = tuple(FILES),
    metadata: Mapping[str, str] | None = None,
) -> list[ExportedGraph]:
    """As `export_onnx`, of several precisions in little more than the time of one.

    Args:
        model, folder: as of `export_onnx`.
        precisions: of `FILES`.
        metadata: what else the files say of themselves, or instead, such as `license`.

    Raises:
        The errors of `export_onnx`.
    """
    check_extra()
    model = model if isinstance(model, ModelSource) else locate_model(model)
    generator = load_generator(model)
    check_exportable(generator, model.name)
    description = describe(model, generator) | dict(metadata or {})
    graph_module = GrayToAb(generator.fold_batch_norms()).eval()
    exported = trace(graph_module)
    written = []
    for precision in precisions:
        graph = in_float16(exported) if precision == "float16" else exported
        data = serialize(graph, {**description, "precision": precision})
        difference = largest_difference(data, graph_module)
        if not difference <= TOLERANCES[precision]:
            raise UserError(
                f"{model.name}: its {precision} graph is {difference:.3g} Lab units away from PyTorch; "
                f"accepted: at most {TOLERANCES[precision]}"
            )
        written.append(ExportedGraph(write(data, Path(folder, FILES[precision])), precision, difference))
    return written


def check_extra() -> None:
    """Raises SettingError if a package of the extra `onnx` is missing."""
    for package in EXTRA:
        if importlib.util.find_spec(package) is None:
            raise SettingError(f'{package} is missing; it comes with pip install "chromagan[onnx]"')


def check_exportable(generator: "ChromaGANGenerator", name: str) -> None:
    """Raises SettingError for a generator that no graph can stand for."""
    if getattr(generator.config, "dropout_at_inference", False):
        raise SettingError(
            f"{name}: dropout_at_inference is true, whose mask depends on torch's random numbers; accepted for ONNX: "
            "false"
        )
    size = 4 * generator.num_parameters()
    if size > MOST_BYTES:
        raise SettingError(
            f"{name}: its weights take {size} bytes in float32; accepted for ONNX: at most {MOST_BYTES}"
        )


def describe(model: ModelSource, generator: "ChromaGANGenerator") -> dict[str, str]:
    """What a file says of itself."""
    folder = Path(download_model(model))
    processor = load_image_processor(model)
    config, network = generator.config, generator.network
    description = {
        "description": "Colorizes photographs: from sRGB-coded gray values to CIE Lab chroma (D65)",
        "architecture": config.architecture,
        "input gray": "float32 (batch, 1, height, width), sRGB-coded gray, 0 to 1, any size from 1x1",
        "output ab": "float32 (batch, 2, height, width), a and b of CIE Lab, D65, Lab units, not yet saturated",
        "encoding": f"{config.encoding}, inside the graph only",
        "working_size": json.dumps(dict(processor.size)),
        "size_multiple": f"{network.size_multiple}, padded to and cropped again inside",
        "saturation": str(processor.saturation),
        "chromagan_version": __version__,
        "weights_sha256": sha256(*sorted(folder.glob("*.safetensors"))),
    }
    if network.has_bins:
        description["output bins"] = (
            f"float32 (batch, bins, height / {BINS_STRIDE}, width / {BINS_STRIDE}) rounded up, logits over squares of "
            "the ab plane"
        )
    if network.has_class_head and config.class_head:
        description["output classes"] = "float32 (batch, num_labels), logits, named in config.json"
    if not os.path.isdir(model.place):  # of the Hub, whose snapshots are folders named by their commit
        description["source"] = f"{model.place} at {folder.name}"
    if (license := license_of_card(folder)) is not None:
        description["license"] = license
    return description


def license_of_card(folder: Path) -> str | None:
    """The license that a model card states; `None` without a card, or one that states none."""
    from huggingface_hub import ModelCard

    card = folder / "README.md"
    return ModelCard.load(card).data.license if card.is_file() else None


def sha256(*files: Path) -> str:
    """Of the bytes of the files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def trace(module: GrayToAb) -> "onnx.ModelProto":
    """The graph of a module, in float32."""
    batch, height, width = map(torch.export.Dim, ("batch", "height", "width"))
    example = torch.zeros(2, 1, 70, 90)  # sizes that are no special case of anything
    with torch.no_grad(), quiet_exporter():
        names = output_names(module)
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes={"gray": {0: batch, 2: height, 3: width}},
            input_names=["gray"],
            output_names=names,
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten._adaptive_avg_pool2d.default: average_cells},
            verbose=False,
        )
    return program.model_proto


def output_names(module: GrayToAb) -> list[str]:
    """What the outputs are called, in their order."""
    network = module.network
    has_classes = getattr(network, "class_head", None) is not None
    return ["ab", *(["bins"] if network.has_bins else []), *(["classes"] if has_classes else [])]


def average_cells(features: Any, cells: Sequence[int]) -> Any:
    """`F.adaptive_avg_pool2d` in the operations of ONNX, for (B, C, H, W) whose H and W are not known.

    A cell is the average of those places that it covers, if in part only: on each axis a matrix of shares.
    """
    import onnxscript

    op = onnxscript.values.Opset("", OPSET)
    shares = []
    for axis, count in zip((2, 3), cells, strict=True):
        size = op.Shape(features, start=axis, end=axis + 1)  # (1,)
        numbers = op.Constant(value_ints=list(range(count)))  # (count,)
        first = op.Unsqueeze(op.Div(op.Mul(numbers, size), count), [1])
        numbers = op.Constant(value_ints=list(range(1, count + 1)))
        end = op.Unsqueeze(op.Div(op.Add(op.Mul(numbers, size), count - 1), count), [1])  # (count, 1), rounded up
        places = op.Range(0, op.Squeeze(size, [0]), 1)  # (size,)
        covered = op.And(op.GreaterOrEqual(places, first), op.Less(places, end))  # (count, size)
        shares.append(op.Div(op.Cast(covered, to=1), op.Cast(op.Sub(end, first), to=1)))
    return op.MatMul(op.MatMul(shares[0], features), op.Transpose(shares[1], perm=[1, 0]))


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Inside it, torch's exporter says nothing of its own affairs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def in_float16(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The same graph with weights and network in float16, between color arithmetic in float32.

    The converters of ONNX Runtime and onnxconverter-common leave out nodes too if they are told to, but then round all
    that passes between these, the gray values first.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    network = network_nodes(graph)
    values = (*graph.input, *graph.value_info, *graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    halved = {name for node in graph.node if node.name in network for name in node.output if name in floats}
    # An output of the graph keeps its name for the float32 that is made of it.
    names = {output.name: f"{output.name}_float16" for output in graph.output if output.name in halved}

    nodes: list[onnx.NodeProto] = []
    tensors = list(graph.initializer)
    made = set()

    def cast(name: str, precision: str) -> str:
        """The name of a value in another precision, which is made when it is first asked for."""
        other = name if name in names else f"{name}_{precision}"
        if other in made:
            return other
        made.add(other)
        if name in weights:
            tensors.append(numpy_helper.from_array(numpy_helper.to_array(weights[name]).astype(np.float16), other))
        else:
            target = TensorProto.FLOAT16 if precision == "float16" else TensorProto.FLOAT
            nodes.append(helper.make_node("Cast", [names.get(name, name)], [other], name=f"cast_{other}", to=target))
        return other

    for original in graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        inside = node.name in network
        for i, name in enumerate(original.input):
            if name in halved:
                node.input[i] = names.get(name, name) if inside else cast(name, "float32")
            elif inside and (name in weights or name in floats) and not (node.op_type == "Resize" and i > 0):
                node.input[i] = cast(name, "float16")  # the factors of a Resize are float32 always
        node.output[:] = [names.get(name, name) for name in original.output]
        for attribute in node.attribute:
            if inside and node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        nodes.append(node)
    for name in names:
        cast(name, "float32")

    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in tensors if tensor.name in used]
    converted = helper.make_graph(nodes, graph.name, graph.input, graph.output, tensors)
    return helper.make_model(converted, opset_imports=model.opset_import, ir_version=model.ir_version)


def network_nodes(graph: "onnx.GraphProto") -> set[str]:
    """Names of the nodes with weights, but for the first, and of those that lie between such.

    The rest is color arithmetic. The weights of the first are few and count most: rounding the packaged trunk's 896,
    whose kernels for three equal channels nearly cancel, moves ab by 0.7 Lab units, rounding all others by 0.1.
    """
    behind: set[str] = set()  # values that come after an operation with weights
    before: set[str] = set()  # values that go into one
    first = set()
    for node in graph.node:  # which are sorted
        if behind & set(node.input):
            behind |= set(node.output)
        elif node.op_type in WEIGHTED:
            behind |= set(node.output)
            first.add(node.name)
    for node in reversed(graph.node):
        if node.op_type in WEIGHTED or before & set(node.output):
            before |= set(node.input)
    between = behind & before
    return {node.name for node in graph.node if node.op_type in WEIGHTED or between & set(node.output)} - first


def serialize(model: "onnx.ModelProto", metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file: checked, with its metadata, and without what the exporter noted of its own work."""
    import onnx

    original, model = model, onnx.ModelProto()
    model.CopyFrom(original)
    model.producer_name, model.producer_version = "chromagan", __version__
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))
    graph = model.graph
    del graph.value_info[:], graph.metadata_props[:]
    graph.name = "chromagan"
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    sizes = {"ab": ("height", "width"), "bins": ("bins_height", "bins_width")}
    for output in graph.output:
        for axis, name in zip((2, 3), sizes.get(output.name, ()), strict=False):
            output.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def largest_difference(data: bytes, module: GrayToAb) -> float:
    """How far ab of ONNX Runtime and of PyTorch are from each other at most, in Lab units, over a drawn picture."""
    import onnxruntime

    rows, columns = np.mgrid[0:75, 0:101].astype(np.float32)
    picture = 0.5 + 0.5 * np.sin(rows / 9) * np.cos(columns / 7)  # every gray from black to white
    gray = np.stack([picture, picture**2])[:, None]  # (2, 1, 75, 101)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (ab,) = session.run(["ab"], {"gray": gray})
    except Exception as error:  # its classes have no common base
        raise UserError(f"ONNX Runtime cannot run the exported graph: {first_line(error)}") from error
    with torch.no_grad():
        expected: Any = module(torch.from_numpy(gray))[0]
    return float(np.abs(ab - expected.numpy()).max())


def write(data: bytes, path: Path) -> Path:
    """Writes a file in one step: whole, or not at all.

    Raises:
        UserError: naming the file.
    """
    try:
        write_file(path, data)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


__all__ = ["ExportedGraph", "export_graphs", "export_onnx"]
