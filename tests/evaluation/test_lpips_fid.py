"""LPIPS and FID by the interface of torchmetrics, and what is said where they cannot be had."""

import json
import sys
import types

import torch

from modeling_chromagan import cli


def test_perceptual_measures_are_taken_or_explained(small_model, small_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    arguments = ["--model", str(small_model), "--data", str(small_data), "--perceptual", "-o", str(tmp_path)]
    arguments += ["--classifier", "none"]
    capsys.readouterr()
    assert cli.main(["evaluate", *arguments]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "is not measured" in line]
    assert [line.split(":")[0] for line in said] == ["LPIPS is not measured", "FID is not measured"]
    assert all(line.endswith(": pip install 'chromagan[perceptual]'") for line in said)

    class Distance(torch.nn.Module):
        """Mean absolute difference, by the interface of torchmetrics."""

        def __init__(self, net_type, normalize):
            super().__init__()
            assert (net_type, normalize) == ("alex", True)
            self.seen = []

        def update(self, prediction, truth):
            assert prediction.max() <= 1
            self.seen.append((prediction - truth).abs().mean())

        def compute(self):
            return torch.stack(self.seen).mean()

    lpip = types.ModuleType("torchmetrics.image.lpip")
    lpip.LearnedPerceptualImagePatchSimilarity = Distance
    for name in ("torchmetrics", "torchmetrics.image"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", lpip)
    assert cli.main(["evaluate", *arguments]) == 0
    captured = capsys.readouterr()
    assert "| LPIPS |" in captured.out
    assert "LPIPS is not measured" not in captured.err
    assert "FID is not measured: No module named" in captured.err
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert all(0 < row["figures"]["lpips"] < 1 for row in rows)
