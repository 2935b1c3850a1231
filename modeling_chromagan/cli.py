"""`chromagan COMMAND`: finds the command, runs it, and turns what it raises into an exit code.

Exit codes: 0 everything is done, 1 something failed (one line each on stderr, the rest is finished), 2 wrong usage
(refused before any work), 130 interrupted, 141 nobody reads what it prints, 143 ended by SIGTERM.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from . import __version__
from .errors import UserError, one_line

# Name: what the command does. Its module in `commands` has `add_NAME_arguments(parser)` and `run_NAME(options)`, which
# returns the exit code; it is imported when the command is called for.
COMMANDS = {
    "colorize": "turn black-and-white pictures into color pictures",
    "status": "say what has become of the files of a run, and whether results are whole",
    "plan": "list pictures into shards for many machines",
    "evaluate": "measure models on the pictures of a data set, beside gray",
    "convert": "turn the published Keras weights into a model folder",
    "export": "write a model as an ONNX file that other programs run",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `chromagan` with `arguments` (default: the process's own) and returns the exit code.

    Raises SystemExit as argparse does: with code 2 for arguments it does not accept, 0 for `--help` and `--version`.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser(words[0] if words else None).parse_args(words)
    try:
        with answering_sigterm():
            return options.run(options)
    except UserError as error:
        print(f"chromagan {options.command}: error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # as behind `| head`; what is still to be printed goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Terminated:
        print(f"chromagan {options.command}: ended by SIGTERM", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print(f"chromagan {options.command}: interrupted", file=sys.stderr)
        return 130


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers and `docker stop` send it: what a run does about Ctrl-C is right for it too."""


@contextlib.contextmanager
def answering_sigterm() -> Iterator[None]:
    """Inside it, SIGTERM raises Terminated, where nobody else answers it."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class OneLineParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line; the usage is where `--help` is."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser(command_name: str | None = None) -> argparse.ArgumentParser:
    """The arguments of `chromagan` and its subcommands; only `command_name` gets its own."""
    parser = OneLineParser(prog="chromagan", description="Colorize photographs.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"chromagan {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        command = commands.add_parser(name, help=summary, description=description, allow_abbrev=False)
        if name == command_name:
            module = importlib.import_module(f".commands.{name}", __package__)
            getattr(module, f"add_{name}_arguments")(command)
            command.set_defaults(run=getattr(module, f"run_{name}"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
