"""Says in plain words when a training is going wrong, from its own log, and what to try.

Everything is read from the run's record, so a resumed run says what an uninterrupted one would have said.
"""

from collections.abc import Sequence
from statistics import median

import torch

from ...color import encode_luminance, output_range, reconstruction_to_ab, rgb8_to_lab
from ...evaluation.ab_histogram import ab_histogram
from ...evaluation.colorizers import evaluation_mode

EDGE = 0.01  # of an output's range: nearer to its ends than this is saturated

GRAY_RATIO = 0.2  # of the data's mean chroma
TINT_SHARE = 0.9  # of all chroma pointing one way
SATURATED_SHARE = 0.2
D_PRIME = 8.0  # standard deviations between the critic's scores of photographs and of colorized pictures
EXPLOSION = 100.0  # times the median gradient norm so far
LASTING = 3  # evaluations in a row that make a finding


@torch.no_grad()
def color_statistics(generator: torch.nn.Module, rgb: torch.Tensor) -> dict[str, float]:
    """How the colors of a generator are distributed, beside those of the photographs.

    Args:
        generator: used in evaluation mode; it leaves in the mode in which it came.
        rgb: photographs, (N, 3, H, W) uint8.

    Returns:
        `chroma_ratio`: mean chroma, divided by the photographs'; `tint`: length of the mean ab, divided by the mean
        chroma, 1 where every pixel has one hue; `tint_truth`: the photographs'; `histogram_distance`: half the summed
        differences of both ab histograms, 0 equal to 1 disjoint; `saturated`: share of output values at the ends of
        their range.
    """
    encoding = generator.config.encoding
    lab = rgb8_to_lab(rgb)  # (N, 3, H, W)
    truth = lab[:, 1:]
    with evaluation_mode(generator):
        outputs = [
            generator(encode_luminance(part, encoding).to(generator.device)).reconstruction.float().cpu()
            for part in lab[:, :1].split(32)
        ]
    output = torch.cat(outputs)  # (N, 2 or 3, H, W)
    ab = reconstruction_to_ab(output, encoding)
    low, high = output_range(encoding, output.shape[1])
    edge = EDGE * (high - low)
    chroma, chroma_truth = ab.norm(dim=1).mean(), truth.norm(dim=1).mean()
    return {
        "chroma_ratio": float(chroma / chroma_truth.clamp(min=1e-6)),
        "tint": float(ab.mean(dim=(0, 2, 3)).norm() / chroma.clamp(min=1e-6)),
        "tint_truth": float(truth.mean(dim=(0, 2, 3)).norm() / chroma_truth.clamp(min=1e-6)),
        "histogram_distance": float((ab_histogram(ab) - ab_histogram(truth)).abs().sum() / 2),
        "saturated": float(((output < low + edge) | (output > high - edge)).float().mean()),
    }


def diagnose(lines: Sequence[dict]) -> list[str]:
    """What is wrong with a run, most serious first, each with what to try; empty for a healthy one.

    Args:
        lines: of the run's log, in order; the last evaluations decide, so that nothing is said of one bad moment.
    """
    evaluations = [line for line in lines if "chroma_ratio" in line][-LASTING:]
    findings = []
    if len(evaluations) == LASTING:
        steps = evaluations[-1]["step"] - evaluations[0]["step"]
        latest = evaluations[-1]
        if all(line["saturated"] > SATURATED_SHARE for line in evaluations):
            findings.append(
                f"{latest['saturated']:.0%} of the outputs have stood at the ends of their range for {steps:,} steps: "
                "they get no gradient there; lower the learning rate, or start again from an earlier checkpoint"
            )
        if all(line["tint"] > max(TINT_SHARE, line["tint_truth"] + 0.2) for line in evaluations):
            findings.append(
                f"{latest['tint']:.0%} of the chroma has pointed one way for {steps:,} steps (the data's: "
                f"{latest['tint_truth']:.0%}): the generator is collapsing to one tint; raise the weight of the "
                "adversarial term or chroma_emphasis, or mix the data better"
            )
        if all(line["chroma_ratio"] < GRAY_RATIO for line in evaluations):
            findings.append(
                f"chroma is {latest['chroma_ratio']:.0%} of the data's and has been low for {steps:,} steps: the "
                "generator is collapsing to gray; raise chroma_emphasis or the learning rate, or lower the critic's "
                "weight if the color loss rises"
            )
    d_primes = [line["critic_d_prime"] for line in lines if "critic_d_prime" in line][-10 * LASTING :]
    if len(d_primes) >= LASTING and median(d_primes) > D_PRIME:
        findings.append(
            f"the critic tells photographs from colorized pictures by a d' of {median(d_primes):.0f} standard "
            "deviations: it is winning and teaches little; lower its learning rate or width, or raise the generator's"
        )
    for name in ("generator", "critic"):
        norms = [line[f"{name}_gradient_norm"] for line in lines if f"{name}_gradient_norm" in line]
        if len(norms) > 10 and norms[-1] > EXPLOSION * median(norms):
            findings.append(
                f"the {name}'s gradient norm is {norms[-1]:.3g}, {norms[-1] / median(norms):.0f} times what is usual "
                "in this run: lower its learning rate or set clip_norm"
            )
    return findings
