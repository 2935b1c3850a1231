"""Publishes a trained run on the Hub: `hub_upload.py RUN_FOLDER --repo-id OWNER/NAME`; --dry-run shows it before."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import transformers

from modeling_chromagan.cli import OneLineParser
from modeling_chromagan.errors import UserError, one_line
from modeling_chromagan.publishing.release_folder import build_release, fits_layout, list_files
from modeling_chromagan.publishing.space_folder import HARDWARE, belongs_to_space, build_space
from modeling_chromagan.publishing.upload import UploadError, check_repo_id, find_token, upload_folder

ROOT = Path(__file__).parent
EXAMPLES, SPACE, BROWSER = ROOT / "examples", ROOT / "space", ROOT / "space" / "browser" / "build.py"
NO_COMMIT = "0" * 40  # in a dry run: the commit that pages are pinned to is not made yet


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(prog="hub_upload.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("source", type=Path, metavar="RUN_FOLDER", help="of train.py, or a model folder")
    add("--repo-id", required=True, metavar="OWNER/NAME", help="model repository, made if it is missing")
    add("--private", action="store_true", help="make the repository private")
    add("--revision", metavar="NAME", help="branch to publish to, made if it is missing (default: main)")
    add(
        "--evaluation",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="what `chromagan evaluate -o` wrote; may be given several times (default: RUN_FOLDER/evaluation)",
    )
    add("--training-checkpoint", action="store_true", help="also the newest checkpoint, so that others can train on")
    add("--space", metavar="OWNER/NAME", help="also the page of space/, as a Gradio Space that runs this commit")
    add(
        "--space-hardware",
        choices=HARDWARE,
        default=HARDWARE[0],
        help="of a Space that is made: cpu-basic wants a subscription, zero-a10g does not (default: %(default)s)",
    )
    add("--browser-space", metavar="OWNER/NAME", help="also the page of space/browser/, as a static Space")
    add("--dry-run", action="store_true", help="build everything, print files and sizes, contact nobody")
    add("-o", "--output", type=Path, metavar="FOLDER", help="keep the model repository's folder there")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    transformers.logging.disable_progress_bar()
    try:
        publish(options)
    except (UserError, OSError) as error:
        print(f"hub_upload.py: {one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print("hub_upload.py: interrupted; run the same command again to finish", file=sys.stderr)
        return 130
    return 0


def publish(options: argparse.Namespace) -> None:
    """Builds all folders, then uploads them: the model first, so that pages can name its commit."""
    for name in ("repo_id", "space", "browser_space"):
        if value := getattr(options, name):
            check_repo_id(f"--{name.replace('_', '-')}", value)
    if options.private and options.space:
        raise UploadError("--space with --private: the page reads its model without a token; accepted: one of them")
    token = "" if options.dry_run else find_token()
    with tempfile.TemporaryDirectory(prefix="chromagan-") as work:
        folder, page, browser = options.output or Path(work, "model"), Path(work, "space"), Path(work, "browser")
        build_release(
            options.source,
            folder,
            options.repo_id,
            evaluations=options.evaluation,
            examples=EXAMPLES,
            training_checkpoint=options.training_checkpoint,
        )
        if options.browser_space:
            build_browser_page(options.source, browser)
        if options.dry_run:
            show(options.repo_id, folder)
            if options.space:
                build_space(SPACE, page, options.repo_id, NO_COMMIT, EXAMPLES, options.space_hardware)
                show(f"Space {options.space}", page)
            if options.browser_space:
                show(f"Space {options.browser_space}", browser)
            return
        message = f"Publish {options.source.resolve().name}"
        private, revision = options.private, options.revision
        model = upload_folder(folder, options.repo_id, token, message, fits_layout, "model", private, revision)
        report(model.url, model.commit, model.changed)
        if options.space:
            build_space(SPACE, page, options.repo_id, model.commit, EXAMPLES, options.space_hardware)
            settings = {"space_sdk": "gradio", "space_hardware": options.space_hardware}
            upload_space(options, options.space, page, token, belongs_to_space, **settings)
        if options.browser_space:
            upload_space(options, options.browser_space, browser, token, space_sdk="static")


def upload_space(options: argparse.Namespace, space: str, folder: Path, token: str, belongs=None, **settings) -> None:
    try:
        page = upload_folder(
            folder, space, token, f"Run {options.repo_id}", belongs, "space", options.private, **settings
        )
    except UploadError as error:
        raise UploadError(f"Space {error} (the model is published)") from None
    report(page.url, page.commit, page.changed)


def build_browser_page(source: Path, folder: Path) -> None:
    """Has the page's own script build it, which exports the model and fetches the runtime."""
    model = source / "model" if (source / "model").is_dir() else source
    if not BROWSER.is_file():
        raise UploadError(f"--browser-space: {BROWSER} is missing; accepted: a complete checkout")
    command = [sys.executable, str(BROWSER), str(model), "-o", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        reason = built.stderr.strip().splitlines()[-1] if built.stderr.strip() else f"exit code {built.returncode}"
        raise UploadError(f"--browser-space: the page cannot be built: {reason}")


def show(name: str, folder: Path) -> None:
    """Every file with its size, and the sum."""
    sizes = {path: (folder / path).stat().st_size for path in list_files(folder)}
    print(f"{name}:")
    for path, size in sizes.items():
        print(f"{size:>14,}  {path}")
    print(f"{sum(sizes.values()):>14,}  bytes in {len(sizes)} files")


def report(url: str, commit: str, changed: bool) -> None:
    print(f"{'published' if changed else 'nothing has changed'}: {url} at {commit}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
