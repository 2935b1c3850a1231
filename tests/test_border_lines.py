"""Lines that could end a margin: the sums over them, and where the best one of a drawn margin lies."""

import numpy as np
import pytest

from modeling_chromagan.border_lines import _along_lines, best_lines, quantiles_of, turned_to

NOWHERE = dict.fromkeys(("left", "top", "right", "bottom"), 0)


@pytest.mark.parametrize("length", [1, 2, 9, 16])
def test_quantiles_are_numpys(length):
    values = np.random.default_rng(0).random((5, 7, length))
    np.testing.assert_allclose(quantiles_of(values, (0, 0.3, 0.5, 1)), np.quantile(values, (0, 0.3, 0.5, 1), axis=-1))


def test_sums_along_lines_are_those_of_every_line_by_itself():
    generator = np.random.default_rng(1)
    levels, segments, cells, reach = 3, 6, 20, 4
    seen = generator.random((levels, segments, cells)) * (generator.random((levels, segments, cells)) < 0.2)
    offsets = generator.integers(-reach, reach + 1, (5, segments))
    sums = _along_lines(seen, offsets)
    assert sums.shape == (levels, len(offsets), cells)
    for shift, offset in enumerate(offsets):
        for cell in range(reach, cells - reach):
            heights = seen[:, np.arange(segments), cell + offset]  # (levels, segments)
            expected = heights.mean(axis=1) + 0.5 * (heights > 0).mean(axis=1)
            np.testing.assert_allclose(sums[:, shift, cell], expected)
    assert not _along_lines(np.zeros_like(seen), offsets).any()


@pytest.mark.parametrize("side", NOWHERE)
@pytest.mark.parametrize("slant", [0, 8])
def test_the_edge_of_a_drawn_margin_is_the_best_line(side, slant):
    small = np.random.default_rng(2).uniform(0.4, 0.6, (240, 240))
    turned = turned_to(small, side)  # a view
    edge = 15 + np.rint(np.linspace(0, slant, 240)).astype(int)
    turned[np.arange(240) < edge[:, None]] = 0.02
    line = best_lines(small, side, NOWHERE, NOWHERE)["dark"]
    assert (line.side, line.kind, line.level) == (side, "dark", 0.02)
    middles = ((line.bounds[:-1] + line.bounds[1:]) // 2).astype(int)
    assert np.abs(line.depths - edge[middles]).max() <= slant / 4
    assert line.coverage == 1
    assert line.seen.all()
    assert line.foreign < 0.01
    assert (line.rotation != 0) == (slant != 0)


def test_the_best_line_of_each_kind_is_told():
    small = np.random.default_rng(3).uniform(0.4, 0.6, (100, 100))
    small[:, :8], small[:, 8:20] = 0.98, 0.02  # paper around a rebate
    lines = best_lines(small, "left", NOWHERE, NOWHERE)
    assert set(lines) >= {"light", "dark"}
    assert set(lines["light"].depths) == {8}
    inner = best_lines(small, "left", NOWHERE | {"left": 8}, NOWHERE)
    assert set(inner["dark"].depths) == {20}


def test_a_side_without_room_has_no_lines():
    small = np.random.default_rng(4).random((100, 100))
    assert best_lines(small, "left", NOWHERE | {"left": 26}, NOWHERE) == {}
    assert best_lines(small, "left", NOWHERE, NOWHERE | {"top": 50, "bottom": 45}) == {}
