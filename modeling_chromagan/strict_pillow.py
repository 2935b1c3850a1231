"""Pillow made strict for a moment: its limits, its tolerance of damage, its messages."""

import contextlib
import ctypes
import functools
import logging
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

from PIL import Image, ImageFile


class _SharedState:
    """What strict reading changes in the process: made by the first of simultaneous reads, taken back by the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.limits: Counter[int] = Counter()  # those of the reads that are under way
        self.changes = contextlib.ExitStack()
        self.own_limit: int | None = None

    @contextlib.contextmanager
    def strict(self, max_pixels: int) -> Iterator[None]:
        with self.lock:
            if not self.limits:
                self.own_limit = Image.MAX_IMAGE_PIXELS
                self.changes.enter_context(_quiet_and_intolerant())
            self._count(max_pixels, 1)
        try:
            yield
        finally:
            with self.lock:
                self._count(max_pixels, -1)
                if not self.limits:
                    Image.MAX_IMAGE_PIXELS = self.own_limit
                    self.changes.close()

    def _count(self, max_pixels: int, change: int) -> None:
        self.limits[max_pixels] += change
        self.limits = +self.limits  # without those that nobody uses
        Image.MAX_IMAGE_PIXELS = max(self.limits, default=self.own_limit)


strict_pillow = _SharedState().strict
"""`with strict_pillow(max_pixels)`: Pillow refuses damaged pictures and prints nothing.

Pillow's limit, its tolerance of truncated files and Python's warning filters belong to the whole process, while
several threads read at the same time, each with its own limit. So the first of them makes the changes and the last one
takes them back, and meanwhile Pillow's limit is the largest of theirs: whoever opens a picture compares it with its
own before anything is decoded. Threads that use Pillow without this loader meet our settings meanwhile. Python's
filters can be mixed up by a thread that saves and restores them: hence ours concern Pillow alone, in case they stay.
"""


@contextlib.contextmanager
def _quiet_and_intolerant() -> Iterator[None]:
    with warnings.catch_warnings(), _silent_libtiff():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged tags of readable pictures
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        tolerant, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        handler = logging.NullHandler()  # or Pillow's log messages would be printed where logging is not set up
        logging.getLogger("PIL").addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger("PIL").removeHandler(handler)
            ImageFile.LOAD_TRUNCATED_IMAGES = tolerant


@contextlib.contextmanager
def _silent_libtiff() -> Iterator[None]:
    """Keeps libtiff from printing to standard error itself; what matters of it arrives as Pillow's exception."""
    set_handler = _libtiff_handler()
    if set_handler is None:
        yield
        return
    before = set_handler(None)
    try:
        yield
    finally:
        set_handler(before)


@functools.cache
def _libtiff_handler() -> Callable[[int | None], int | None] | None:
    """Sets libtiff's printing of errors, giving what was set before; None where it cannot be reached."""
    try:
        set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler  # in a library Pillow has loaded
    except (AttributeError, OSError):  # linked otherwise: messages are printed, no harm done
        return None
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    return set_handler
