"""`chromagan plan`: pictures into shards, which `chromagan colorize --plan` works off on any number of machines."""

import argparse

from ..errors import SettingError
from ..picture_formats import OUTPUT_FORMATS
from .arguments import whole_number
from .messages import Report, print_line

PER_SHARD = 500


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `chromagan plan`."""
    parser.description = (
        "Lists the pictures of files, folders and URLs (s3://, gs://, hf:// and what else fsspec knows), decides the "
        "names of their results, and deals them to shards of about equal work, in OUT/.chromagan/plan.parquet. Made "
        "again after files came or went, the plan leaves the others in their shards: nothing is done twice."
    )
    parser.epilog = (
        "Exit code: 0 planned, 1 planned without what is named on stderr, 2 wrong usage, 130 interrupted. Then: "
        "chromagan colorize --plan OUT."
    )
    add = parser.add_argument
    add("sources", nargs="+", metavar="SRC", help="a picture, or a folder with pictures at any depth; a path or a URL")
    add("-o", "--out", required=True, metavar="OUT", help="folder for the results; a path or a URL")
    add(
        "--per-shard",
        type=whole_number(1, 100_000),
        default=PER_SHARD,
        metavar="N",
        help=f"pictures a shard, which one process works off (default: {PER_SHARD})",
    )
    add("--format", choices=OUTPUT_FORMATS, help="format of the results (default: as colorize chooses)")
    add("--quiet", action="store_true", help="print errors only")


def run_plan(options: argparse.Namespace) -> int:
    """Runs `chromagan plan` and returns its exit code."""
    try:
        from ..scale.plan import make_plan_of_shards
    except ImportError as error:
        raise SettingError('plans need pyarrow and fsspec: pip install "chromagan[scale]"') from error
    summary, found = make_plan_of_shards(options.sources, options.out, options.format, options.per_shard)
    report = Report(options.quiet)
    for note in found.notes:
        report.note(note)
    for failure in found.failures:
        report.fail(str(failure))
    if not options.quiet:
        print_line(
            f"{summary.pictures:,} pictures in {summary.shards:,} shards, {summary.new:,} new, {summary.gone:,} gone, "
            f"{found.not_pictures:,} not pictures"
        )
    return 1 if report.failed else 0


__all__ = ["add_plan_arguments", "run_plan"]
