"""What a row adds to the metrics: its own loss, top-1 of its class head, its saturation."""

import json

import pytest
import torch
from small_evaluation import CLASS_NAMES, PromptedGenerator, as_batch, evaluate_data, photograph, tiny_config

from modeling_chromagan import ChromaGANGenerator
from modeling_chromagan.color import rgb8_to_lab
from modeling_chromagan.evaluation.colorizers import GREY, colorize
from modeling_chromagan.evaluation.label_mapping import match_classes
from modeling_chromagan.evaluation.measurement import evaluate_model
from modeling_chromagan.modeling_chromagan import ColorizationOutput


def test_a_head_of_a_thousand_classes_chooses_among_those_of_the_data_set():
    batch = as_batch([photograph(0), photograph(1)], label=torch.tensor([1, 2]))
    logits = torch.zeros(2, 1000)
    logits[0, [25, 500]] = torch.tensor([1.0, 9.0])  # 500 is none of the data set's classes
    logits[1, 1] = 1
    generator = PromptedGenerator(tiny_config(id2label=None, num_labels=1000))
    generator.prompt(torch.zeros(2, 2, 64, 64), logits)
    mapping, _ = match_classes(generator.config, CLASS_NAMES)
    assert evaluate_model(generator, [batch], label_mapping=mapping)["classes"]["top1"] == 50


def test_what_the_network_gives_in_rgb_counts_for_its_chroma():
    batch = as_batch([photograph(0), photograph(1)])

    class RgbGenerator(ChromaGANGenerator):
        def forward(self, pixel_values):
            return ColorizationOutput(reconstruction=batch["rgb"].float() / 255 * 0.9)

    result = evaluate_model(RgbGenerator(tiny_config()), [batch])
    truth = rgb8_to_lab(batch["rgb"])
    rgb, _ = colorize(RgbGenerator(tiny_config()), truth[:, :1])
    assert (rgb8_to_lab(rgb)[:, :1] - truth[:, :1]).abs().max() < 1  # the luminance is the photograph's
    assert result["model"]["colorfulness_ratio"] > 0.8
    expected = (batch["rgb"].float() / 255 * 0.1).square().mean().item()
    assert result["model"]["own_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["tiny64", "native"])
def test_the_saturation_curve_is_what_single_runs_give(small_model, small_data, tmp_path, capsys, protocol):
    arguments = ["--model", small_model, "--data", small_data, "--protocol", protocol]
    passes = []
    with pytest.MonkeyPatch.context() as patch:
        forward = ChromaGANGenerator.forward
        patch.setattr(ChromaGANGenerator, "forward", lambda *of, **named: passes.append(1) or forward(*of, **named))
        printed = evaluate_data(
            capsys, *arguments, "--saturation", "0", "1", "0.3", "--batch-size", "8", "-o", tmp_path / "curve"
        )
    # Once over what is measured, and twice more over what is drawn on two sheets: here the same four pictures.
    assert len(passes) == (4 if protocol == "native" else 1) + 2 * 4
    rows = json.loads((tmp_path / "curve" / "results.json").read_text())["rows"]
    name = small_model.name
    assert [row["name"] for row in rows] == [GREY, f"{name} x 0", f"{name} x 1", f"{name} x 0.3"]
    assert rows[1]["figures"]["psnr_mean"] == pytest.approx(rows[0]["figures"]["psnr_mean"], abs=1e-3)
    assert 0 < rows[3]["figures"]["colorfulness"] < 0.6 * rows[2]["figures"]["colorfulness"]
    assert "Saturation: 0, 1 (as predicted), 0.3." in printed
    gain, ratio = rows[3]["gain"]["psnr_mean"], rows[3]["figures"]["colorfulness_ratio"]
    assert f"| {name} x 0.3 | {gain:+.2f} (" in printed.split("color at each saturation")[1]
    assert f"| {ratio:.3f} |" in printed.split("color at each saturation")[1]
    assert (tmp_path / "curve" / f"{name} x 0.3.csv").is_file()

    for saturation, row in ((None, rows[2]), ("0.3", rows[3])):
        alone = ["--saturation", saturation] if saturation else []
        printed = evaluate_data(capsys, *arguments, *alone, "-o", tmp_path / str(saturation))
        single = json.loads((tmp_path / str(saturation) / "results.json").read_text())["rows"][1]
        assert {key: value for key, value in single.items() if key != "name"} == {
            key: value for key, value in row.items() if key != "name"
        }
        assert single["name"] == (f"{name} x 0.3" if saturation else name)
        assert f"Saturation: {saturation or '1 (as predicted)'}." in printed
