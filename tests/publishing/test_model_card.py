"""The card of a published model: metadata that the Hub accepts, figures from evaluations alone, prose for people."""

import json
from pathlib import Path

import pytest
import yaml
from hub_cards import check_card
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from modeling_chromagan import PACKAGED_WEIGHTS
from modeling_chromagan.publishing.model_card import write_card
from modeling_chromagan.training.recipe import dump_recipe, load_recipe

NAME = "org/autumn"
ROOT = Path(__file__).parents[2]


def figures(psnr: float, ratio: float) -> dict:
    return {"pictures": 53, "psnr_mean": psnr, "ssim": 0.9, "colorfulness_ratio": ratio, "colorfulness": 10.0}


@pytest.fixture
def results() -> dict:
    gain = {"gain": {"psnr_mean": 1.54}, "gain_intervals": {"psnr_mean": [0.72, 2.34]}, "working_size": 192}
    return {
        "native-set": {
            "protocol": {"name": "native", "summary": "full size, as a user gets it"},
            "data": "someone/set, split valid",
            "samples": 60,
            "counts": {"seen": 60, "measured": 53, "near_gray": 7, "broken": 0},
            "rows": [
                {"name": "grey (ab = 0)", "figures": figures(21.5512, 0.001)},
                {"name": "autumn", "saturation": 1.0, "figures": figures(23.0912, 0.459), **gain},
            ],
        }
    }


@pytest.fixture
def write(small_model, results, tmp_path):
    """Writes a card and gives it back, as the Hub and as its readers see it."""

    def write(
        recipe: dict | None = None, prose: str = "", has_critic: bool = False, results: dict = results
    ) -> ModelCard:
        for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
            (tmp_path / name).write_bytes((small_model / name).read_bytes())
        write_card(tmp_path, NAME, recipe, {}, prose, results, has_critic)
        text = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert check_card(text, "model") == ([], [])
        assert "{{" not in text
        assert "{%" not in text
        return ModelCard(text)

    return write


def resolved(name: str, *settings: str) -> dict:
    return yaml.safe_load(dump_recipe(load_recipe(str(ROOT / "recipes" / f"{name}.yaml"), list(settings))))


def section(card: ModelCard, heading: str) -> str:
    return card.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].strip()


def test_the_metadata_is_what_the_hub_filters_by(write):
    data = write().data.to_dict()
    fixed = {"license": "apache-2.0", "library_name": "transformers", "pipeline_tag": "image-to-image"}
    assert fixed.items() <= data.items()
    assert data["tags"] == ["image-colorization", "colorization", "chromagan"]
    assert data["metrics"] == ["psnr", "ssim", "colorfulness_ratio"]
    assert "base_model" not in data
    assert "datasets" not in data


def test_the_model_index_has_every_figure_with_its_protocol_and_gray_beside_it(write):
    ((entry,),) = [index["results"] for index in write().data.to_dict()["model-index"]]
    assert entry["task"]["type"] == "image-to-image"
    about = {"type": "someone/set", "config": "native", "split": "valid"}
    assert about.items() <= entry["dataset"].items()
    assert entry["dataset"]["name"] == "someone/set, protocol native, 53 pictures"
    psnr, *_ = entry["metrics"]
    assert psnr == {"type": "psnr", "value": 23.09, "name": "PSNR mean (dB), protocol native (gray: 21.55)"}
    assert [metric["type"] for metric in entry["metrics"]] == ["psnr", "ssim", "colorfulness_ratio"]


def test_results_stand_beside_gray_with_what_was_measured(write):
    text = section(write(), "Results beside gray")
    assert "`chromagan evaluate --protocol native` (full size, as a user gets it), someone/set, split valid: " in text
    assert "53 photographs of 60; 7 are nearly gray and left out. The network saw short sides of 192 pixels." in text
    assert "| gray | 21.55 | 0.9000 | 0.001 |  |\n" in text
    assert "| saturation 1 | 23.09 | 0.9000 | 0.459 | +1.54 (+0.72 to +2.34) |" in text


def test_what_was_not_measured_stands_nowhere(write, results):
    gray, model = results["native-set"]["rows"]
    model["figures"]["ssim"] = None  # as a figure that is not finite is written
    card = write(results=results)
    assert "SSIM" not in card.text
    assert "ssim" not in card.data.to_dict()["metrics"]
    assert gray["figures"]["ssim"]


def test_a_recipe_tells_data_start_phases_and_base_model(write):
    card = write(resolved("chromagan"), has_critic=True)
    assert card.data.datasets == ["ILSVRC/imagenet-1k"]
    assert card.data.base_model == "timm/vgg16.tv_in1k"
    assert "gan" in card.data.tags
    text = section(card, "Training")
    assert text.startswith("Start: the weights of `timm/vgg16.tv_in1k`.")
    assert "- imagenet: `ILSVRC/imagenet-1k`, split train" in text
    assert "0.1 adversarial" in text
    assert "accelerate launch --quiet train.py recipe.yaml" in section(card, "Reproduce")


def test_every_recipe_that_ships_has_a_card(write):
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        text = section(write(resolved(path.stem)), "Training")
        assert text.count("\n1. **") == len(resolved(path.stem)["phases"]), path


def test_a_fine_tuning_names_the_ancestor_of_the_packaged_weights(write):
    assert write(resolved("finetune", "data.sources.mine.path=photographs")).data.base_model == (
        "timm/tf_efficientnet_lite2.in1k"
    )
    assert write(resolved("finetune", "init_from=org/earlier@main")).data.base_model == "org/earlier"


def test_folders_are_no_data_sets_of_the_hub(write):
    recipe = resolved("debug", "data.sources.pictures.path=photographs")
    assert write(recipe).data.datasets is None


def test_what_somebody_wrote_takes_the_place_of_what_is_generated(write):
    prose = (
        "---\nlicense: cc-by-4.0\nbase_model: org/winter\ntags: [slides]\n---\n\n# Autumn\n\nLeaves, mostly. See "
        "[the notes](../notes.md) and [a paper](https://arxiv.org/abs/1907.09837).\n\n## Limits\n\nNo snow.\n\n"
        "## Measured\n\n99 dB, honestly.\n"
    )
    card = write(prose=prose)
    assert card.text.lstrip().startswith("# Autumn\n\nLeaves, mostly. See the notes and [a paper](https://arxiv.org")
    assert section(card, "Limits") == "No snow."
    assert "99 dB" not in card.content, "a figure that no evaluation has"
    assert card.data.license == "cc-by-4.0"
    assert card.data.base_model == "org/winter"
    assert "slides" in card.data.tags
    assert section(card, "Training") == "How these weights were trained is not recorded beside them."


def test_the_packaged_weights_keep_their_own_prose(write):
    own = (PACKAGED_WEIGHTS / "README.md").read_text(encoding="utf-8")
    card = write(prose=own, has_critic=True)
    for heading in ("Training", "What it does well and badly", "Limits"):
        text = own.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].strip()
        assert len(text) > 300
        assert section(card, heading) == text
    assert card.data.base_model == "timm/tf_efficientnet_lite2.in1k"
    assert "](../" not in card.content


def test_limits_and_qualities_are_said_in_plain_words_where_nobody_wrote_any(write):
    card = write()
    assert "Colors are invented" in section(card, "Limits")
    assert "calmer than the photographs' (46 % of their colorfulness) and nearer to the photographs than gray" in (
        section(card, "What it does well and badly")
    )


def test_use_names_the_repository_and_warns_of_its_code(write):
    text = section(write(), "Use")
    assert f'pipeline("image-to-image", model="{NAME}", trust_remote_code=True)' in text
    assert 'revision="COMMIT"' in text
    blocks = [token.content for token in MarkdownIt().parse(text) if token.type == "fence" and token.info == "python"]
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "card", "exec")


def test_it_is_one_well_formed_page(write):
    tokens = MarkdownIt("commonmark").enable("table").parse(write(resolved("debug")).text)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == [
        *("Use", "Results beside gray", "Training", "What it does well and badly", "Limits", "Reproduce", "Citation")
    ]
    assert sum(token.type == "table_open" for token in tokens) == 1


def test_weights_are_counted_as_the_documents_count_them(write, tmp_path):
    write()
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "chromagan"
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to(PACKAGED_WEIGHTS / name)
    write_card(tmp_path, NAME, None, {}, "", {}, False)
    assert "11,317,598 weights" in (tmp_path / "README.md").read_text(encoding="utf-8")
