"""Models as a protocol runs them: directly, through the pipeline, at other sizes."""

import json

import numpy as np
import pytest
import torch
from small_evaluation import PromptedGenerator, as_batch, evaluate_data, photograph, refused_evaluation, tiny_config

from modeling_chromagan import ChromaGANGenerator, ChromaGANPipeline, cli
from modeling_chromagan.color import rgb8_to_lab, rgb_to_lab
from modeling_chromagan.evaluation.colorizers import colorize, predict
from modeling_chromagan.evaluation.metrics import psnr, ssim


def test_impossible_chroma_loses_chroma_not_lightness():
    batch = as_batch([photograph(seed) for seed in range(2)])
    generator = PromptedGenerator(tiny_config()).prompt(torch.full((2, 2, 64, 64), 100.0))
    lightness = rgb8_to_lab(batch["rgb"])[:, :1]
    rgb, _ = colorize(generator, lightness)
    assert rgb.dtype == torch.uint8
    assert (rgb_to_lab(rgb / 255)[:, :1] - lightness).abs().max() < 1


def test_native_is_what_a_user_of_the_pipeline_gets(small_model, tmp_path, capsys):
    pictures = {"a.png": photograph(1, 96).resize((150, 96)), "b.png": photograph(2, 80)}
    (tmp_path / "photographs").mkdir()
    for name, picture in pictures.items():
        picture.save(tmp_path / "photographs" / name)
    (tmp_path / "photographs" / "c.png").write_bytes(b"broken")
    arguments = ["--data", tmp_path / "photographs", "--protocol", "native", "-o", tmp_path / "out"]
    capsys.readouterr()
    arguments = ["--model", small_model, *arguments, "--classifier", "none"]
    assert cli.main(["evaluate", *map(str, arguments)]) == 0
    assert "skipped: c.png: not a picture; accepted are JPEG" in capsys.readouterr().err
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["counts"] == {"seen": 3, "measured": 2, "near_gray": 0, "broken": 1}
    assert written["broken"][0]["picture"] == "c.png"

    pipe = ChromaGANPipeline.from_pretrained(small_model)
    pairs = [(as_batch([pipe(picture)])["rgb"], as_batch([picture])["rgb"]) for picture in pictures.values()]
    grey, model = (row["figures"] for row in written["rows"])
    assert model["psnr_mean"] == pytest.approx(np.mean([psnr(*pair).item() for pair in pairs]))
    assert model["ssim"] == pytest.approx(np.mean([ssim(*pair).item() for pair in pairs]))
    assert grey["colorfulness"] == 0
    assert "own_loss" not in model  # the network saw smaller pictures


def test_native_takes_another_working_size(small_model, tmp_path, capsys):
    photograph(1, 96).save(tmp_path / "a.png")
    arguments = ["--model", small_model, "--data", tmp_path, "--protocol", "native"]
    assert "Working size: 48." in evaluate_data(capsys, *arguments)  # the processor's own
    printed = evaluate_data(capsys, *arguments, "--working-size", "32")
    pipe = ChromaGANPipeline.from_pretrained(small_model)
    expected = psnr(as_batch([pipe(photograph(1, 96), size=32)])["rgb"], as_batch([photograph(1, 96)])["rgb"])
    assert f"| {small_model.name} | {expected.item():.2f} |" in printed
    assert "Working size: 32." in printed


def test_networks_see_another_working_size_than_what_is_compared(small_model, small_data, capsys, monkeypatch):
    seen = []
    forward = ChromaGANGenerator.forward
    monkeypatch.setattr(ChromaGANGenerator, "forward", lambda self, x: seen.append(tuple(x.shape)) or forward(self, x))
    printed = evaluate_data(capsys, "--model", small_model, "--data", small_data, "--working-size", "96")
    assert seen == [(4, 1, 96, 96)]
    assert "Working size: 96." in printed
    assert printed.splitlines()[6].endswith(" | - |")  # no loss of its own: the network saw other pictures


def test_chroma_of_another_working_size_is_brought_back():
    ab = torch.tensor([40.0, -30.0]).view(1, 2, 1, 1) * torch.linspace(0, 1, 96).view(1, 1, 1, 96).expand(
        1, 2, 128, 96
    )
    generator = PromptedGenerator(tiny_config()).prompt(ab)
    chroma, _ = predict(generator, torch.full((1, 1, 64, 48), 50.0), working_size=96)
    assert chroma.shape == (1, 2, 64, 48)
    torch.testing.assert_close(chroma, (ab[..., ::2, ::2] + ab[..., ::2, 1::2]) / 2, atol=0.2, rtol=0)


def test_weights_that_do_not_fit_are_refused(small_model, small_data, tmp_path, capsys):
    generator = ChromaGANGenerator.from_pretrained(small_model)
    weights = generator.state_dict()
    lost = next(name for name in weights if name.endswith("weight"))
    generator.save_pretrained(tmp_path, state_dict={name: weights[name] for name in weights if name != lost})
    line = refused_evaluation(capsys, "--model", tmp_path, "--data", small_data)
    start = f"chromagan evaluate: error: {tmp_path} cannot be loaded: lacks 1 of its weights, {lost} among them; "
    assert line.startswith(start)
