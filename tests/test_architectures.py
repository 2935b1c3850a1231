"""The tables of generators and critics: complete, and read for the fields of a config."""

import importlib
import inspect

import pytest
from conftest import ROOT

from modeling_chromagan.architectures import CRITICS, GENERATORS, fields_of_all, fields_read
from modeling_chromagan.layers import CriticNetwork, GeneratorNetwork


@pytest.mark.parametrize(
    ("files", "kind", "table"),
    [("generator_*.py", GeneratorNetwork, GENERATORS), ("critic_*.py", CriticNetwork, CRITICS)],
)
def test_every_network_has_a_line(files, kind, table):
    written = set()
    for path in (ROOT / "modeling_chromagan").glob(files):
        module = importlib.import_module(f"modeling_chromagan.{path.stem}")
        classes = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, kind)]
        written |= {value for value in classes if value.__module__ == module.__name__}
    bases = {value for value in written if value.__subclasses__()}  # some have a line of their own, some have none
    assert written - bases <= set(table.values()) <= written
    assert len(table) > 2


def test_the_fields_of_a_config_are_those_of_its_generator_and_its_critic():
    fields = fields_read("resnet_unet", "pix2pix")
    assert {"encoding", "width_multiplier", "upsampling", "critic_width_multiplier", "critic_norm"} <= fields.keys()
    assert not {"trunk", "decoder_widths", "class_head", "dropout_seed"} & fields.keys()
    assert "critic_norm" not in fields_read("resnet_unet", "projected")
    every = fields_of_all()
    assert {"trunk", "upsampling", "dropout_seed", "train_extractor", "critic_norm"} <= every.keys()
    for architecture in GENERATORS:
        for critic in CRITICS:
            assert fields_read(architecture, critic).keys() <= every.keys()
