"""Colors are weighed by the first batches of a phase, which leave no trace."""

import shutil

import torch
from debug_run import RECIPE
from PIL import Image

from modeling_chromagan.training.color_weights import weigh_colors
from modeling_chromagan.training.data.sources import open_sources
from modeling_chromagan.training.recipe import load_recipe


def test_terms_that_count_colors_get_weights_and_the_report_is_left_alone(photographs, tmp_path):
    shutil.copytree(photographs, tmp_path / "pictures")
    for i in range(6):  # passed over when their turn comes
        Image.new("RGB", (64, 56), (90 + i, 90 + i, 90 + i)).save(tmp_path / "pictures" / f"gray{i}.png")
    settings = [f"data.sources.pictures.path={tmp_path / 'pictures'}", "phases.1.objective.weights.rebalanced=1"]
    recipe = load_recipe(RECIPE, settings)
    sources, _, _ = open_sources(recipe.data, recipe.seed, None, 48)
    before = dict(sources["pictures"].rejected)
    weights = weigh_colors(sources, recipe.phases[1], recipe.seed)
    assert set(weights) == {"rebalanced"}
    assert (weights["rebalanced"] > 0).all()
    assert weights["rebalanced"].std() > 0
    assert dict(sources["pictures"].rejected) == before
    assert torch.equal(weigh_colors(sources, recipe.phases[1], recipe.seed)["rebalanced"], weights["rebalanced"])
    assert weigh_colors(sources, recipe.phases[0], recipe.seed) == {}
    list(sources["pictures"].pictures(range(40)))
    assert dict(sources["pictures"].rejected) != before, "the gray pictures are counted otherwise"
