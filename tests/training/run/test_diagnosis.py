"""Collapses are told from health, in words that say what to try."""

import pytest
import torch

from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator
from modeling_chromagan.color import encode_ab, rgb8_to_lab
from modeling_chromagan.modeling_chromagan import ColorizationOutput
from modeling_chromagan.training.run.diagnosis import color_statistics, diagnose


class Painter(ChromaGANGenerator):
    """Colors every picture by a function of the truth, which it was shown beforehand."""

    def __init__(self, truth: torch.Tensor, paint):
        super().__init__(ChromaGANConfig(trunk="lite0", width_multiplier=0.0625, class_head=False))
        self.encoded = encode_ab(paint(rgb8_to_lab(truth)[:, 1:]), "unit8").clamp(0, 1)
        self.place = 0

    def forward(self, pixel_values, **kwargs):
        start, self.place = self.place, self.place + len(pixel_values)
        return ColorizationOutput(reconstruction=self.encoded[start : self.place])


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    coarse = torch.randint(0, 256, (12, 3, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    return torch.nn.functional.interpolate(coarse, size=(32, 32)).to(torch.uint8)


def log_of(statistics: dict, count: int = 4) -> list[dict]:
    return [{"step": 500 * (i + 1), "phase": "gan"} | statistics for i in range(count)]


COLLAPSES = {
    "gray": (lambda ab: 0.1 * ab, "collapsing to gray"),
    "one tint": (lambda ab: torch.tensor([20.0, 35.0]).view(1, 2, 1, 1).expand_as(ab), "one tint"),
    "saturation": (lambda ab: 1000 * ab.sign(), "ends of their range"),
}


@pytest.mark.parametrize("kind", COLLAPSES)
def test_a_collapse_is_named_with_what_to_try(kind, photographs):
    paint, words = COLLAPSES[kind]
    findings = diagnose(log_of(color_statistics(Painter(photographs, paint), photographs)))
    assert len(findings) == 1, findings
    assert words in findings[0]
    assert "1,000 steps" in findings[0]


def test_a_healthy_run_is_left_alone(photographs):
    statistics = color_statistics(Painter(photographs, lambda ab: 0.7 * ab), photographs)
    assert statistics["chroma_ratio"] == pytest.approx(0.7, abs=0.01)
    assert 0 < statistics["histogram_distance"] < 1
    assert color_statistics(Painter(photographs, lambda ab: ab), photographs)["histogram_distance"] < 0.05
    scores = [{"step": i, "critic_d_prime": 1.5, "generator_gradient_norm": 1.0} for i in range(40)]
    assert diagnose(log_of(statistics) + scores) == []


def test_one_bad_moment_is_no_finding(photographs):
    gray = color_statistics(Painter(photographs, lambda ab: 0.05 * ab), photographs)
    fine = color_statistics(Painter(photographs, lambda ab: 0.8 * ab), photographs)
    assert diagnose([*log_of(fine, 2), *log_of(gray, 1)]) == []
    assert diagnose([*log_of(gray, 2), *log_of(fine, 1)]) == []


def test_a_critic_that_wins_and_a_gradient_that_explodes():
    winning = [{"step": i, "critic_d_prime": 12.0} for i in range(40)]
    assert "it is winning" in diagnose(winning)[0]
    norms = [{"step": i, "critic_gradient_norm": 1.0 + i % 3} for i in range(40)]
    assert diagnose(norms) == []
    assert "the critic's gradient norm is 5e+03" in diagnose([*norms, {"step": 41, "critic_gradient_norm": 5000.0}])[0]
