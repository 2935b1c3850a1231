"""One pass over pictures: of a training, or of the command."""

import pytest
import torch
from small_evaluation import PromptedGenerator, as_batch, photograph, tiny_config

from modeling_chromagan import ChromaGANGenerator
from modeling_chromagan.color import rgb8_to_lab
from modeling_chromagan.evaluation.color_metrics import ColorMetrics
from modeling_chromagan.evaluation.measurement import Evaluation, EvaluationError, evaluate_model
from modeling_chromagan.evaluation.pictures import open_source
from modeling_chromagan.evaluation.protocols import PROTOCOLS


@pytest.mark.parametrize("encoding", ["unit8", "symmetric"])
def test_no_chroma_scores_as_the_grey_row(encoding):
    batch = as_batch([photograph(seed) for seed in range(4)])
    generator = PromptedGenerator(tiny_config(encoding=encoding)).prompt(torch.zeros(4, 2, 64, 64))
    result = evaluate_model(generator, [batch])
    result["model"].pop("own_loss")
    # unit8 stores 0 as 128/255, which comes back as some 1e-6: nothing that 8 bits or a whole threshold would show.
    assert result["model"] == pytest.approx(result["grey"], rel=1e-3, abs=0.05)
    assert result["grey"]["colorfulness_ratio"] == pytest.approx(0, abs=1e-3)
    assert result["grey"]["psnr_mean"] < 25
    assert result["gain"]["psnr_mean"] == result["model"]["psnr_mean"] - result["grey"]["psnr_mean"]


@pytest.mark.parametrize("encoding", ["unit8", "symmetric"])
def test_the_true_chroma_is_the_photograph(encoding):
    batch = as_batch([photograph(seed) for seed in range(4)])
    truth = rgb8_to_lab(batch["rgb"])
    generator = PromptedGenerator(tiny_config(encoding=encoding)).prompt(truth[:, 1:])
    result = evaluate_model(generator, [batch])
    assert result["model"]["psnr_mean"] > 50  # what is left is rounding
    assert result["model"]["colorfulness_ratio"] == pytest.approx(1, abs=0.01)
    assert result["model"]["rebalanced_auc"] > 99


def test_gray_pictures_are_counted_but_not_measured():
    pictures = [photograph(seed) for seed in range(4)]
    pictures[1] = pictures[1].convert("L")
    batch = as_batch(pictures, label=torch.tensor([0, 1, 2, -1]))
    logits = torch.eye(3)[[0, 0, 0]]
    generator = PromptedGenerator(tiny_config()).prompt(torch.zeros(3, 2, 64, 64), logits)
    result = evaluate_model(generator, [batch], label_mapping=torch.arange(3))
    assert result["counts"] == {"pictures": 3, "pictures_seen": 4}
    assert result["classes"] == {"top1": 50, "pictures": 2}  # labels 0 and 2; 1 is gray, -1 is none
    expected = ColorMetrics()
    color = batch["rgb"][[0, 2, 3]]
    expected.update(color, color)
    assert result["model"]["colorfulness_truth"] == pytest.approx(expected.result()["colorfulness"])
    with pytest.raises(EvaluationError, match="none of 1 pictures has a colorfulness of 12 or more"):
        evaluate_model(generator, [as_batch(pictures[1:2])])


def test_evaluation_leaves_the_generator_as_it_was():
    generator = ChromaGANGenerator(tiny_config()).train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    evaluate_model(generator, [as_batch([photograph(0), photograph(1)])])
    assert generator.training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


@pytest.mark.slow
def test_grey_row_of_tiny_imagenet(data_root):
    protocol = PROTOCOLS["tiny64"]
    source = open_source(str(data_root / "tiny-imagenet"), "valid")
    evaluation = Evaluation([], source, protocol)
    results = evaluation.run(show_progress=False)
    assert results["counts"] == {"seen": 10000, "measured": 9235, "near_gray": 765, "broken": 0}
    grey = results["rows"][0]["figures"]
    assert grey["psnr_mean"] == pytest.approx(22.07, abs=0.02)
    assert grey["psnr_median"] == pytest.approx(22.03, abs=0.02)
    assert grey["rebalanced_auc"] == pytest.approx(58.0, abs=0.1)


@pytest.mark.slow
def test_grey_scores_what_it_did_under_the_legacy_formula(data_root):
    protocol = PROTOCOLS["legacy-tiny224"]
    source = open_source(str(data_root / "tiny-imagenet"), "valid")
    results = Evaluation([], source, protocol, samples=500).run(show_progress=False)
    assert results["counts"]["near_gray"] == 0
    assert results["rows"][0]["figures"]["psnr_mean"] == pytest.approx(24.4, abs=0.5)
