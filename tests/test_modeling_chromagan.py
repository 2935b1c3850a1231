"""The models as transformers models: saving, loading, types, devices, compiling, checkpointing, outputs."""

import copy
import json
import logging
import pickle
import re
import shutil

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from modeling_chromagan import (
    GENERATORS,
    ChromaGANConfig,
    ChromaGANCritic,
    ChromaGANGenerator,
    ChromaGANImageProcessor,
    ChromaGANPipeline,
    ColorizationOutput,
    CriticOutput,
)
from modeling_chromagan.errors import UserError, WeightsError
from modeling_chromagan.trunk_efficientnet_lite import VARIANTS

pytestmark = pytest.mark.usefixtures("extractors")

TINY = {
    "image_size": 32,
    "width_multiplier": 0.0625,
    "critic_width_multiplier": 0.0625,
    "global_hidden_sizes": (8, 6),
    "class_hidden_sizes": (8,),
    "num_labels": 5,
    "trunk_batch_norm": True,
    "trunk": "lite0",
}
MODELS = {name: (ChromaGANGenerator, {"architecture": name}) for name in GENERATORS}
MODELS["critic"] = (ChromaGANCritic, {})

every_model = pytest.mark.parametrize("kind", MODELS)
every_generator = pytest.mark.parametrize("kind", GENERATORS)
every_classifier = pytest.mark.parametrize("kind", [name for name in GENERATORS if GENERATORS[name].has_class_head])


def build(kind: str, **settings):
    """A tiny model that has seen a batch in training, so that its running statistics are not a new network's."""
    torch.manual_seed(0)
    cls, own = MODELS[kind]
    model = cls(ChromaGANConfig.from_dict(TINY | own | settings)).train()
    with torch.no_grad():
        model(batch_for(model, count=3))
    return model.eval()


def batch_for(model, count: int = 2, size: int = 32) -> torch.Tensor:
    channels = 1 if isinstance(model, ChromaGANGenerator) else 3
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def result(model, batch: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        output = model(batch)
    return output.reconstruction if isinstance(output, ColorizationOutput) else output.scores


def assert_equal_colors(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal but for rounding: kernels of a CPU differ in it by where in memory the weights lie, here and in a file."""
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def fields_beside_colors(kind: str) -> list[str]:
    return {"chromagan_lite": ["logits", "bin_logits"], "chromagan": ["logits"]}.get(kind, [])


def labels_for(model, size: int = 32) -> torch.Tensor:
    channels = {"ab": 2, "rgb": 3}[model.network.output_space]
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(3))


def files_of_weights(folder) -> list[str]:
    """Everything in a saved folder but its settings and the code that travels with them."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".py" and path.name != "config.json")


def assert_equal_states(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for key in ours:
        assert ours[key].dtype == theirs[key].dtype, key
        assert torch.equal(ours[key], theirs[key]), key


@pytest.fixture
def library_log():
    """Lines that transformers logs as warnings while a test runs."""
    lines, logger = [], logging.getLogger("transformers")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


# Saving and loading


@every_model
def test_saved_and_loaded_bit_for_bit(kind, tmp_path, library_log):
    model = build(kind)
    model.save_pretrained(tmp_path)
    assert files_of_weights(tmp_path) == ["model.safetensors"]
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [type(model).__name__]
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert not library_log
    assert not loaded.training
    assert_equal_states(model, loaded)
    assert_equal_colors(result(model, batch_for(model)), result(loaded, batch_for(model)))


@every_model
def test_weights_in_several_files_load_also_from_a_folder_that_held_one_file(kind, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.25)
    model.save_pretrained(tmp_path, max_shard_size=sum(t.nbytes for t in model.state_dict().values()) // 2)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    assert_equal_states(model, type(model).from_pretrained(tmp_path))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.25)
    model.save_pretrained(tmp_path)
    assert files_of_weights(tmp_path) == ["model.safetensors"]
    assert_equal_states(model, type(model).from_pretrained(tmp_path))


@every_model
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_load_and_answer_in_their_own_type(kind, dtype, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path)
    expected = result(model, batch_for(model))
    loaded = type(model).from_pretrained(tmp_path, dtype=dtype)
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    for batch in (batch_for(model).to(dtype), batch_for(model)):  # image processors give float32 whatever the model is
        given = result(loaded, batch)
        assert given.dtype == dtype
        torch.testing.assert_close(given.float(), expected, atol=0.03, rtol=0.03)
    loaded.save_pretrained(tmp_path / "half")
    again = type(model).from_pretrained(tmp_path / "half")  # without a word it keeps the file's own type
    assert again.dtype == dtype
    assert type(model).from_pretrained(tmp_path / "half", dtype=torch.float32).dtype == torch.float32


@every_model
def test_device_map_auto(kind, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, device_map="auto")
    assert_equal_states(model, loaded.to("cpu"))


@every_model
def test_weights_that_a_file_lacks_are_refused_or_as_asked_initialized_and_reported(kind, tmp_path, library_log):
    model = build(kind)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    dropped = [name for i, name in enumerate(tensors) if i % 3 == 0]
    save_file({name: value for name, value in tensors.items() if name not in dropped}, tmp_path / "model.safetensors")
    with pytest.raises(
        WeightsError, match=rf"^{tmp_path}: lacks \d+ of its weights, network\.\S+ among them; [^\n]+$"
    ):
        type(model).from_pretrained(tmp_path)
    assert not library_log
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True, ignore_mismatched_sizes=True)
    assert set(info["missing_keys"]) >= {name for name in dropped if "batches_tracked" not in name}
    assert library_log
    assert all(tensor.isfinite().all() for tensor in loaded.state_dict().values())
    for name in set(tensors) - set(dropped):
        assert torch.equal(loaded.state_dict()[name], tensors[name]), name


@every_model
def test_weights_of_another_shape_are_refused(kind, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=rf"^{tmp_path}: \d+ of its weights have shapes that its config [^\n]+$"):
        type(model).from_pretrained(tmp_path, width_multiplier=0.125, critic_width_multiplier=0.125)


@every_model
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(kind, value, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[-1] = value
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=rf"^{tmp_path}: 1 of its weights are not finite, {name} among them$"):
        type(model).from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model_type": "resnet"}, "model_type is 'resnet'; accepted: 'chromagan'"),
        (
            {"format_version": 2, "architecture": "unheard_of"},
            "format_version is 2, of a newer version of this package",
        ),
    ],
)
def test_configs_of_other_models_and_of_newer_versions_are_refused(settings, reason, tmp_path):
    build("chromagan_lite").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["format_version"] == 1
    (tmp_path / "config.json").write_text(json.dumps(config | settings))
    loaders = [ChromaGANGenerator, ChromaGANConfig]
    if "format_version" in settings:  # another model's config is not ours to refuse
        loaders += [transformers.AutoConfig, transformers.AutoModelForImageToImage]
    for loader in loaders:
        with pytest.raises(WeightsError, match=rf"^{tmp_path}: {reason}[^\n]*$"):
            loader.from_pretrained(tmp_path)


@every_classifier
def test_class_weights_are_left_out_without_a_word(kind, tmp_path, library_log):
    model = build(kind)
    model.save_pretrained(tmp_path)
    loaded, info = ChromaGANGenerator.from_pretrained(tmp_path, class_head=False, output_loading_info=True)
    assert not library_log
    assert not info["missing_keys"]
    assert not [name for name in loaded.state_dict() if "class_head" in name]
    output = loaded(batch_for(model))
    assert output.logits is None
    assert_equal_colors(output.reconstruction, model(batch_for(model)).reconstruction)


@every_classifier
def test_a_file_without_class_weights_loads_silently_only_where_none_are_asked_for(kind, tmp_path, library_log):
    """As the published weights for inference: a file without the head, under a config that has one."""
    model = build(kind)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: t for name, t in tensors.items() if "class_head" not in name}, tmp_path / "model.safetensors")
    loaded = ChromaGANGenerator.from_pretrained(tmp_path, class_head=False)
    assert not library_log
    assert_equal_colors(result(loaded, batch_for(model)), result(model, batch_for(model)))
    with pytest.raises(WeightsError, match=r"lacks \d+ of its weights, network\.class_head\."):
        ChromaGANGenerator.from_pretrained(tmp_path, class_head=True)


def test_unknown_weights_other_than_the_class_head_are_reported(tmp_path, library_log):
    model = build("chromagan")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"network.from_elsewhere": torch.zeros(1)}, tmp_path / "model.safetensors")
    ChromaGANGenerator.from_pretrained(tmp_path)
    assert "network.from_elsewhere" in " ".join(library_log)


# Pickles


class Bomb:
    """A pickle that makes a file when it is opened."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return (open, (str(self.proof), "w"))


@pytest.fixture
def pickled(tmp_path):
    """A folder of a generator whose weights are such a pickle, and the file that must not appear."""
    folder, proof = tmp_path / "model", tmp_path / "opened"
    build("chromagan_lite").save_pretrained(folder)
    ChromaGANImageProcessor().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(proof)))
    pickle.loads((folder / "pytorch_model.bin").read_bytes()).close()
    assert proof.exists(), "the pickle is harmless"
    proof.unlink()
    return folder, proof


def load_teacher(folder):
    from modeling_chromagan.training.teacher import load_auto_teacher

    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_channels=3)
    config.save_pretrained(folder)
    load_auto_teacher(str(folder))


def start_training(folder):
    from accelerate import Accelerator
    from conftest import ROOT

    from modeling_chromagan.training.networks import Networks
    from modeling_chromagan.training.recipe import load_recipe

    Networks(load_recipe(ROOT / "recipes" / "debug.yaml", [f"init_from={folder}"]), Accelerator(cpu=True), None)


def load_for_evaluation(folder):
    from modeling_chromagan.sources.models import load_generator

    load_generator(folder)


LOADERS = {
    "generator": ChromaGANGenerator.from_pretrained,
    "critic": ChromaGANCritic.from_pretrained,
    "as asked": lambda folder: ChromaGANGenerator.from_pretrained(folder, use_safetensors=False),
    "subfolder": lambda folder: ChromaGANGenerator.from_pretrained(folder.parent, subfolder=folder.name),
    "pipeline": ChromaGANPipeline.from_pretrained,
    "auto class": transformers.AutoModelForImageToImage.from_pretrained,
    "auto class as asked": lambda folder: transformers.AutoModelForImageToImage.from_pretrained(
        folder, use_safetensors=False
    ),
    "evaluate": load_for_evaluation,
    "init_from": start_training,
    "teacher": load_teacher,
}


@pytest.mark.parametrize("loader", LOADERS)
def test_a_pickle_is_refused_in_one_line_and_never_opened(loader, pickled):
    folder, proof = pickled
    with pytest.raises((OSError, ValueError, UserError)) as refusal:
        LOADERS[loader](folder)
    assert not proof.exists()
    assert "\n" not in str(refusal.value)
    assert str(folder) in str(refusal.value)
    assert "safetensors" in str(refusal.value)
    if loader not in ("teacher", "evaluate"):  # which have words of their own
        assert ("use_safetensors is False" if "asked" in loader else "has pytorch_model.bin") in str(refusal.value)
        assert "accepted: safetensors files alone" in str(refusal.value)


@pytest.mark.parametrize("by", ["index", "config"])
def test_a_pickle_that_a_file_names_is_not_opened(by, pickled):
    folder, proof = pickled
    (folder / "pytorch_model.bin").rename(folder / "adapter_model.bin")
    if by == "index":
        index = {"metadata": {}, "weight_map": {"network.chroma.weight": "adapter_model.bin"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": "adapter_model.bin"}))
    (folder / "beside.safetensors").touch()
    with pytest.raises(OSError, match=r"adapter_model\.bin: is no safetensors file; accepted: [^\n]+$"):
        ChromaGANGenerator.from_pretrained(folder)
    assert not proof.exists()


def test_a_repository_without_safetensors_is_refused_without_the_library_s_advice(monkeypatch):
    def refuse(*arguments, **settings):
        raise OSError("some/where does not appear to have a file. Please do not set `use_safetensors=True`.")

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", refuse)
    with pytest.raises(OSError, match=r"^some/where: has no safetensors file; accepted: safetensors files alone"):
        ChromaGANGenerator.from_pretrained("some/where")


# Initialization


@every_model
def test_initialization_covers_every_weight_and_buffer(kind):
    """Loading builds on the meta device, where constructors fill nothing: whatever is left out would be garbage."""
    model = build(kind)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(float("nan") if tensor.is_floating_point() else 77)
            tensor._is_hf_initialized = False
    for module in model.modules():
        module._is_hf_initialized = False
    model.init_weights()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert tensor.isfinite().all(), name
        if name.endswith("num_batches_tracked"):
            assert tensor == 0
        if name.endswith("running_var"):
            assert (tensor == 1).all()


@every_model
def test_no_tensor_hides_outside_of_parameters_and_buffers(kind):
    for name, module in build(kind).named_modules():
        assert not [key for key, value in vars(module).items() if isinstance(value, torch.Tensor)], name


@every_generator
def test_a_new_network_starts_with_activations_of_ordinary_size(kind):
    torch.manual_seed(0)
    config = ChromaGANConfig.from_dict(TINY | {"architecture": kind, "width_multiplier": 0.25})
    model = ChromaGANGenerator(config).train()
    with torch.no_grad():
        states = model(batch_for(model, count=4, size=64), output_hidden_states=True).hidden_states
    # pix2pix starts from weights of deviation 0.02, from which batch norm makes ordinary sizes behind the first layer.
    least = 0.005 if model.network.initial_std else 0.05
    for i, state in enumerate(states):
        assert least < state.std() < 5, i


# Training


@every_generator
@pytest.mark.parametrize(
    "settings", [{}, {"every_n_layers": 2}, {"activation_checkpointing_kwargs": {"use_reentrant": True}}]
)
def test_activation_checkpointing_changes_neither_gradients_nor_running_statistics(kind, settings):
    plain = build(kind).train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.activation_checkpointing_enable(**settings)
    assert checkpointed.is_activation_checkpointing
    recomputed = []
    handles = [
        module.register_forward_hook(lambda module, *_: recomputed.append(module))
        for module in checkpointed.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    for model in (plain, checkpointed):
        torch.manual_seed(4)  # of the dropout
        for _ in range(2):  # the second step starts from the statistics that the first one left
            output = model(batch_for(model))
            loss = output.reconstruction.square().mean()
            if output.logits is not None:
                loss = loss + output.logits.square().mean()
            if output.bin_logits is not None:
                loss = loss + output.bin_logits.square().mean()
            loss.backward()
    assert len(recomputed) > 2 * len(handles)  # it is on
    assert_equal_states(plain, checkpointed)
    for (name, one), other in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        if one.requires_grad:
            assert torch.equal(one.grad, other.grad), name
    for module in checkpointed.modules():
        assert getattr(module, "track_running_stats", True)


def test_the_critic_refuses_activation_checkpointing():
    with pytest.raises(ValueError, match="does not support"):
        build("critic").activation_checkpointing_enable()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="the compiler behind torch.compile needs g++")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own imports
def test_compiled_in_one_graph_it_gives_the_same(monkeypatch):
    """With half of the blocks, since each is compiled; the other generators have the test below."""
    monkeypatch.setitem(VARIANTS, "lite0", (1.0, 0.5))
    model = build("chromagan_lite")
    batch = torch.rand(2, 1, 33, 47, generator=torch.Generator().manual_seed(2))
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        ours, theirs = compiled(batch), model(batch)
    torch.testing.assert_close(ours.reconstruction, theirs.reconstruction, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [name for name in GENERATORS if name not in ("labnet", "preres")])  # graphs of others
def test_it_traces_into_one_graph(kind):
    """What `test_compiled_in_one_graph_it_gives_the_same` does, without the compiler behind the graph."""
    model = build(kind)
    torch._dynamo.reset()
    traced = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(traced(batch_for(model)).reconstruction, model(batch_for(model)).reconstruction)


# Inputs and outputs


@every_generator
def test_outputs_by_name_and_as_a_tuple(kind):
    model = build(kind)
    batch = batch_for(model)
    labels = labels_for(model)
    output = model(batch, labels=labels, output_hidden_states=True)
    assert isinstance(output, ColorizationOutput)
    assert list(output) == ["loss", "reconstruction", *fields_beside_colors(kind), "hidden_states"]
    as_tuple = model(batch, labels=labels, output_hidden_states=True, return_dict=False)
    assert isinstance(as_tuple, tuple)
    for one, other in zip(output.to_tuple(), as_tuple, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    model.config.return_dict = False
    assert isinstance(model(batch), tuple)


@every_generator
def test_the_loss_is_there_only_with_labels_and_is_the_mean_squared_error(kind):
    model = build(kind)
    batch = batch_for(model)
    labels = labels_for(model)
    assert model(batch).loss is None
    assert list(model(batch)) == ["reconstruction", *fields_beside_colors(kind)]
    output = model(batch, labels=labels)
    torch.testing.assert_close(output.loss, (output.reconstruction - labels).square().mean())
    assert output.loss.ndim == 0
    output.loss.backward()


@every_generator
def test_labels_alone_leave_a_gradient_in_every_trainable_weight(kind):
    model = build(kind).train()
    model(batch_for(model), labels=labels_for(model)).loss.backward()
    without = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == []


@every_classifier
def test_class_labels_add_their_weighted_cross_entropy(kind):
    model = build(kind)
    batch, labels = batch_for(model), labels_for(model)
    color = model(batch, labels=labels).loss
    classes = torch.tensor([3, 0])
    expected = F.cross_entropy(model(batch).logits, classes)
    torch.testing.assert_close(model(batch, labels=labels, class_labels=classes).loss, color + 0.003 * expected)
    output = model(batch, labels=labels, class_labels=F.one_hot(classes, 5).float(), class_weight=2)
    torch.testing.assert_close(output.loss, color + 2 * expected)
    output.loss.backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)
    head = [weight for name, weight in model.named_parameters() if "class_head" in name]
    assert all(weight.grad.abs().sum() > 0 for weight in head)


def test_class_labels_are_refused_where_they_mean_nothing():
    model = build("chromagan_lite")
    batch, labels = batch_for(model), labels_for(model)
    with pytest.raises(ValueError, match=r"^class_labels has shape \(3,\); accepted: \(2,\) or \(2, 5\)$"):
        model(batch, labels=labels, class_labels=torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"^class_labels are given without labels; accepted: both, or labels alone$"):
        model(batch, class_labels=torch.tensor([0, 1]))
    for headless in (build("labnet"), build("chromagan_lite", class_head=False)):
        with pytest.raises(ValueError, match=r"^class_labels are given to a generator without a class head"):
            headless(batch, labels=labels, class_labels=torch.tensor([0, 1]))


@every_generator
def test_hidden_states_on_request_or_by_config(kind):
    model = build(kind)
    batch = batch_for(model)
    assert model(batch).hidden_states is None
    states = model(batch, output_hidden_states=True).hidden_states
    assert isinstance(states, tuple)
    assert all(len(state) == 2 for state in states)
    model.config.output_hidden_states = True
    torch.testing.assert_close(model(batch).hidden_states, states)
    assert model(batch, output_hidden_states=False).hidden_states is None


@every_generator
@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 32, 32), (32, 32)])
def test_wrong_shapes_are_refused(kind, shape):
    with pytest.raises(ValueError, match=r"^pixel_values has shape .*; accepted: \(B, 1, H, W\) luminance$"):
        build(kind)(torch.zeros(shape))


@every_generator
@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 0, 16, 16), (1, 0, 32, 32)])
def test_labels_of_another_shape_are_refused_rather_than_broadcast(kind, shape):
    model = build(kind)
    right = tuple(labels_for(model).shape)
    kinds = {2: "encoded ab", 3: "RGB"}
    accepted = re.escape(f"; accepted: {kinds[right[1]]}, {right}")
    with pytest.raises(ValueError, match=rf"^labels has shape .*{accepted}$"):
        model(batch_for(model), labels=torch.zeros(shape[0], shape[1] or right[1], *shape[2:]))


@every_generator
def test_frozen_parts_stay_frozen_and_in_evaluation_mode(kind, tmp_path):
    built = build(kind)
    built.save_pretrained(tmp_path)
    for model in (built, ChromaGANGenerator.from_pretrained(tmp_path)):
        for mode in (True, False):
            model.train(mode)
            frozen = {
                id(module)
                for part in model.network.frozen_parts
                for module in model.network.get_submodule(part).modules()
            }
            for name, module in model.named_modules():
                assert module.training == (mode and id(module) not in frozen), name
                for key, parameter in module.named_parameters(recurse=False):
                    assert parameter.requires_grad == (id(module) not in frozen), f"{name}.{key}"


def test_critic_outputs_by_name_and_as_a_tuple():
    model = build("critic")
    output = model(batch_for(model))
    assert isinstance(output, CriticOutput)
    assert list(output) == ["scores"]
    (scores,) = model(batch_for(model), return_dict=False)
    assert torch.equal(scores, output.scores)


@every_classifier
def test_class_names_travel_with_the_weights(kind, tmp_path):
    names = {0: "goldfish", 1: "lemon", 2: "bus"}
    model = build(kind, num_labels=3, id2label=names, label2id={name: i for i, name in names.items()})
    assert model(batch_for(model)).logits.shape == (2, 3)
    model.save_pretrained(tmp_path)
    config = ChromaGANGenerator.from_pretrained(tmp_path).config
    assert config.id2label == names
    assert config.label2id["bus"] == 2


@every_classifier
def test_the_class_head_learns_from_logits_and_colors_do_not_feel_it(kind):
    model = build(kind).train()
    F.cross_entropy(model(batch_for(model)).logits, torch.tensor([0, 1])).backward()
    assert model.network.chroma.weight.grad is None
    assert all(parameter.grad is not None for parameter in model.network.class_head.parameters())
