"""Measures models on the photographs of a data set, beside the same photographs left gray: `chromagan evaluate`.

    chromagan evaluate --model FOLDER OWNER/NAME --data zh-plus/tiny-imagenet --protocol tiny64 --output FOLDER
    python -m modeling_chromagan.commands.evaluate ...   # the same

This file holds the options, the order of events and the exit code.
"""

import argparse
import contextlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ..errors import SettingError, first_line
from ..evaluation.colorizers import CandidateError, load_candidates
from ..evaluation.contact_sheet import comparison_sheet, evaluation_sheet, sample_grid
from ..evaluation.lpips_fid import load_perceptual_measures
from ..evaluation.measurement import Evaluation, EvaluationError, evaluate_model
from ..evaluation.pictures import PictureSourceError, open_source
from ..evaluation.protocols import PROTOCOLS
from ..evaluation.recognition import DEFAULT_CLASSIFIER, load_recognizer
from ..evaluation.report import PictureTable, markdown_report, write_results
from ..image_processing_chromagan import RANGES
from .messages import only_own_output

PACKAGED_MODEL = Path(__file__).resolve().parents[1] / "pretrained"


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `chromagan evaluate`."""
    protocols = "; ".join(f"{name}: {protocol.summary}" for name, protocol in PROTOCOLS.items())
    add = parser.add_argument
    add(
        "--model",
        nargs="+",
        action="extend",
        metavar="MODEL",
        help="one or several folders or Hub ids (default: the packaged weights)",
    )
    add(
        "--data",
        default="zh-plus/tiny-imagenet",
        help="Hub id, folder of the same layout, or folder of pictures (default: %(default)s)",
    )
    add("--split", default="valid", help="split of the data set, or subfolder of pictures (default: %(default)s)")
    add("--protocol", choices=PROTOCOLS, default="tiny64", help=f"how it is measured: {protocols} (default: tiny64)")
    add("--samples", type=_positive, metavar="N", help="only N pictures, evenly spaced (default: all)")
    add("--batch-size", type=_positive, default=64, metavar="N", help="pictures at once (default: %(default)s)")
    add("--device", default="cpu", help="device of torch that the networks run on (default: %(default)s)")
    add(
        "--saturation",
        nargs="+",
        type=_number_between(0.0, 2.0),
        default=[1.0],
        metavar="FACTOR",
        help="factors from 0 to 2 on the predicted chroma, a row for each by one pass of the network (default: 1, as "
        "predicted, whatever the model's own setting)",
    )
    add(
        "--working-size",
        type=_number_between(*RANGES["working_size"]),
        metavar="PIXELS",
        help="short side of what the network sees (default: the model's with --protocol native, else that of the "
        "compared picture)",
    )
    add(
        "--classifier",
        default=DEFAULT_CLASSIFIER,
        metavar="WEIGHTS",
        help="EfficientNet-Lite2 for top-1, agreement and FD-Lite2: a folder, a Hub id or a package; none leaves them "
        "out, which saves the time of one such network per picture and row (default: %(default)s)",
    )
    add("--perceptual", action="store_true", help="also LPIPS and FID, if torchmetrics can load their networks")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="write results.json, results.md, a CSV of all pictures per row, contact_sheet.png, and of several "
        "rows comparison.png",
    )


def run_evaluate(options: argparse.Namespace) -> int:
    """Measures, prints and writes what `options` ask for; errors are one line on stderr.

    Returns:
        The exit code: 0 done (pictures that had to be skipped are named and counted), 1 it cannot be measured.
    """
    try:
        with only_own_output(quiet=True):
            _run(options)
    except (EvaluationError, CandidateError, PictureSourceError) as error:
        print(f"chromagan evaluate: error: {first_line(error)}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    if importlib.util.find_spec("skimage") is None:
        raise EvaluationError("SSIM and CIEDE2000 need scikit-image: pip install 'chromagan[train]'")
    if options.output is not None:
        try:
            options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvaluationError(f"--output {options.output} cannot be made: {error.strerror}") from error
    protocol = PROTOCOLS[options.protocol]
    try:
        device = torch.device(options.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EvaluationError(f"--device {options.device}: {first_line(error)}") from error
    candidates = load_candidates(
        options.model or [str(PACKAGED_MODEL)],
        protocol,
        device,
        saturations=list(dict.fromkeys(options.saturation)),
        working_size=options.working_size,
    )
    source = open_source(options.data, options.split)
    perceptual = {}
    if options.perceptual:
        perceptual, reasons = load_perceptual_measures()
        for reason in reasons:
            print(reason, file=sys.stderr)

    recognizer = None
    if options.classifier != "none":
        try:
            recognizer = load_recognizer(options.classifier, device)
        except SettingError as error:
            print(f"Lite2 figures are not measured: {error}", file=sys.stderr)

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    evaluation = Evaluation(
        candidates,
        source,
        protocol,
        batch_size=options.batch_size,
        samples=options.samples,
        perceptual=perceptual,
        recognizer=recognizer,
        say=say,
    )
    with contextlib.ExitStack() as stack:
        tables = []
        if options.output is not None:
            for row in evaluation.rows[1:]:
                tables.append(
                    stack.enter_context(contextlib.closing(PictureTable(options.output / f"{row.name}.csv")))
                )
        results = evaluation.run(tables)
    print(markdown_report(results))
    if options.output is not None:
        write_results(options.output, results)
        evaluation_sheet(evaluation).save(options.output / "contact_sheet.png")
        if len(evaluation.rows) > 2:
            comparison_sheet(evaluation).save(options.output / "comparison.png")


def _positive(text: str) -> int:
    """An argparse type: a whole number from 1 upwards."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: a whole number from 1 upwards")
    return int(text)


def _number_between(least: float, most: float) -> Callable[[str], float]:
    """An argparse type: a number in this range, a whole one where the bounds of the range are."""
    kind, accepted = (int, "a whole number") if isinstance(least, int) else (float, "a number")

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if least <= (number := kind(text)) <= most:
                return number
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: {accepted} from {least:g} to {most:g}")

    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `python -m modeling_chromagan.commands.evaluate`."""
    parser = argparse.ArgumentParser(
        prog="python -m modeling_chromagan.commands.evaluate", description="Measures models on photographs."
    )
    add_evaluate_arguments(parser)
    return run_evaluate(parser.parse_args(arguments))


__all__ = ["add_evaluate_arguments", "evaluate_model", "run_evaluate", "sample_grid"]

if __name__ == "__main__":
    sys.exit(main())
