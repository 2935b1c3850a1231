"""Settings of the image processor: what is refused, in which words, and how a size becomes two edges."""

from functools import partial

import pytest
from transformers.image_utils import SizeDict

from modeling_chromagan.errors import SettingError
from modeling_chromagan.image_processing_chromagan import ChromaGANImageProcessor
from modeling_chromagan.processor_settings import check_names, check_settings, complete_size


@pytest.mark.parametrize(
    ("setting", "accepted"),
    [
        *(
            (
                {"size": size},
                f"size is {size!r}; accepted: shortest_edge, a whole number from 16 to 2048, alone or with "
                "longest_edge, 1 to 64 times as many pixels",
            )
            for size in (
                15,
                128.0,
                True,
                (64, 64),
                {"height": 64, "width": 64},
                {"longest_edge": 64},
                {"shortest_edge": 64, "longest_edge": 63},
                {"shortest_edge": 64, "longest_edge": 64 * 64 + 1},
                {"shortest_edge": 64, "longest_edge": 99.5},
            )
        ),
        ({"resample": 6}, "resample is 6; accepted: a whole number from 0 to 5"),
        ({"do_resize": 1}, "do_resize is 1; accepted: True, False"),
        ({"do_rescale": False}, "do_rescale is False; accepted: True"),
        ({"do_normalize": False}, "do_normalize is False; accepted: True"),
        ({"saturation": 2.1}, "saturation is 2.1; accepted: a number from 0.0 to 2.0"),
        ({"saturation": -0.1}, "saturation is -0.1; accepted: a number from 0.0 to 2.0"),
        ({"saturation": float("nan")}, "saturation is nan; accepted: a number from 0.0 to 2.0"),
        ({"saturation": True}, "saturation is True; accepted: a number from 0.0 to 2.0"),
        ({"saturation": "1"}, "saturation is '1'; accepted: a number from 0.0 to 2.0"),
        ({"encoding": "rgb"}, "encoding is 'rgb'; accepted: unit8, symmetric"),
        ({"borders": "cut"}, "borders is 'cut'; accepted: auto, keep"),
        ({"max_pixels": 0}, "max_pixels is 0; accepted: a whole number from 1 to 100000000000"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(setting, accepted):
    for make in (ChromaGANImageProcessor, partial(ChromaGANImageProcessor.from_dict, {})):
        with pytest.raises(SettingError) as error:
            make(**setting)
        assert str(error.value) == accepted


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 16, "saturation": 0, "max_pixels": 1, "resample": 0},
        {"size": 2048, "saturation": 2, "max_pixels": 10**11, "resample": 5},
        {"saturation": 0.5, "borders": "keep", "do_resize": False, "do_convert_rgb": False},
        {"size": {"shortest_edge": 16, "longest_edge": 16}},
        {"size": {"shortest_edge": 16, "longest_edge": 64 * 16}},
    ],
)
def test_the_ends_of_every_range_are_accepted(settings):
    check_settings(**settings)
    assert ChromaGANImageProcessor(**settings).size["shortest_edge"] in (16, 256, 2048)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (64, (64, 320)),
        ({"shortest_edge": 64}, (64, 320)),
        ({"shortest_edge": 64, "longest_edge": None}, (64, 320)),
        ({"shortest_edge": 64, "longest_edge": 100}, (64, 100)),
        (SizeDict(shortest_edge=64, longest_edge=100), (64, 100)),
        (17, (17, 85)),
    ],
)
def test_a_size_is_two_edges_in_the_proportion_of_the_one_that_it_replaces(given, expected):
    size = complete_size(given, replaced={"shortest_edge": 32, "longest_edge": 160})
    assert size == dict(zip(("shortest_edge", "longest_edge"), expected, strict=True))


def test_unknown_names_are_refused_together_with_what_is_known():
    check_names(["size"], ["size", "borders"])
    with pytest.raises(TypeError, match=r"^sise, border is unknown; accepted: size, borders$"):
        check_names(["sise", "size", "border"], ["size", "borders"])
