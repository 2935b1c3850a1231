"""`chromagan evaluate`: measures models on the photographs of a data set, beside the same photographs left gray."""

import argparse
import contextlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .. import PACKAGED_WEIGHTS
from ..errors import SettingError, UserError, first_line
from ..evaluation.protocols import PROTOCOLS
from ..processor_settings import RANGES
from ..sources.weight_packages import LITE2_PACKAGE
from .arguments import number, whole_number
from .messages import only_own_output

if TYPE_CHECKING:
    import torch

    from ..evaluation.measurement import Evaluation
    from ..evaluation.recognition import Recognizer


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
    add("--samples", type=whole_number(1), metavar="N", help="only N pictures, evenly spaced (default: all)")
    add("--batch-size", type=whole_number(1), default=64, metavar="N", help="pictures at once (default: %(default)s)")
    add("--device", default="cpu", help="device of torch that the networks run on (default: %(default)s)")
    add(
        "--saturation",
        nargs="+",
        type=number(*RANGES["saturation"]),
        default=[1.0],
        metavar="FACTOR",
        help="factors from 0 to 2 on the predicted chroma, a row for each by one pass of the network (default: 1, as "
        "predicted, whatever the model's own setting)",
    )
    add(
        "--working-size",
        type=whole_number(*RANGES["shortest_edge"]),
        metavar="PIXELS",
        help="short side of what the network sees (default: the model's with --protocol native, else that of the "
        "compared picture)",
    )
    add(
        "--classifier",
        default=LITE2_PACKAGE,
        metavar="WEIGHTS",
        help="EfficientNet-Lite2 for top-1, agreement and FD-Lite2: a folder, a Hub id or a package; none leaves them "
        "out, which saves the time of one such network per picture and row (default: %(default)s)",
    )
    add(
        "--perceptual",
        action="store_true",
        help="also LPIPS and FID, by torchmetrics: pip install 'chromagan[perceptual]'",
    )
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="write results.json, results.md, a CSV of all pictures for each model, contact_sheet.png, and of several "
        "rows comparison.png",
    )


def run_evaluate(options: argparse.Namespace) -> int:
    """Runs `chromagan evaluate` and returns its exit code: 0, however many pictures had to be skipped."""
    if importlib.util.find_spec("skimage") is None:
        raise UserError("SSIM and CIEDE2000 need scikit-image: pip install 'chromagan[train]'")
    if options.output is not None:
        try:
            options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--output {options.output} cannot be made: {error.strerror}") from error
    with only_own_output(quiet=True):
        _evaluate(options)
    return 0


def _evaluate(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..evaluation.colorizers import load_colorizers
    from ..evaluation.lpips_fid import load_perceptual_measures
    from ..evaluation.measurement import Evaluation
    from ..evaluation.pictures import open_source

    protocol, device = PROTOCOLS[options.protocol], _device(options.device)
    colorizers = load_colorizers(
        options.model or [str(PACKAGED_WEIGHTS)],
        protocol,
        device,
        saturations=list(dict.fromkeys(options.saturation)),
        working_size=options.working_size,
    )
    source = open_source(options.data, options.split)
    perceptual, reasons = load_perceptual_measures() if options.perceptual else ({}, [])
    for reason in reasons:
        print(reason, file=sys.stderr)
    evaluation = Evaluation(
        colorizers,
        source,
        protocol,
        batch_size=options.batch_size,
        samples=options.samples,
        perceptual=perceptual,
        recognizer=_recognizer(options.classifier, device),
        say=lambda line: tqdm.write(line, file=sys.stderr),
    )
    _measure(evaluation, options.output)


def _device(name: str) -> "torch.device":
    import torch

    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: {first_line(error)}") from error
    return device


def _recognizer(where: str, device: "torch.device") -> "Recognizer | None":
    """The classifier, or `None` where none is wanted or, said on stderr, none can be had."""
    if where == "none":
        return None
    from ..evaluation.recognition import load_recognizer

    try:
        return load_recognizer(where, device)
    except SettingError as error:
        print(f"Lite2 figures are not measured: {error}", file=sys.stderr)
        return None


def _measure(evaluation: "Evaluation", output: Path | None) -> None:
    """Runs and prints; writes results, tables and sheets into `output`, if there is one."""
    from ..evaluation.contact_sheet import comparison_sheet, evaluation_sheet
    from ..evaluation.report import PictureTable, markdown_report, write_results
    from ..image_saving import save_image

    with contextlib.ExitStack() as stack:
        paths = [] if output is None else [output / f"{row.name}.csv" for row in evaluation.rows[1:]]
        tables = [stack.enter_context(PictureTable.open(path)) for path in paths]
        results = evaluation.run(tables)
    print(markdown_report(results))
    if output is not None:
        write_results(output, results)
        save_image(evaluation_sheet(evaluation), output / "contact_sheet.png")
        if len(evaluation.rows) > 2:
            save_image(comparison_sheet(evaluation), output / "comparison.png")
