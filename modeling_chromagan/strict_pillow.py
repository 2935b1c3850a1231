"""Pillow made strict for a moment: its limits, its tolerance of damage, its messages."""

import contextlib
import ctypes
import functools
import logging
import threading
import warnings
from collections.abc import Callable, Iterator

from PIL import Image, ImageFile

_pillow_lock = threading.RLock()


@contextlib.contextmanager
def strict_pillow(max_pixels: int) -> Iterator[None]:
    """Pillow refuses pictures above `max_pixels` and damaged ones, and prints nothing.

    Pillow's limit, its tolerance of truncated files and Python's warning filters belong to the whole process, and a
    server loads for several visitors from several threads. So all changes to them are made, used and taken back
    under one lock: simultaneous loads wait for one another, which also bounds their memory. Threads that use Pillow
    without this loader may meet our limit for that moment and find their own after it. Python's filters can still be
    mixed up by a thread that saves and restores them meanwhile: hence ours concern Pillow alone, in case they stay,
    and whoever opens a picture repeats the limit before anything is decoded, in case they are lost.
    """
    with _pillow_lock, warnings.catch_warnings(), _silent_libtiff():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged tags of readable pictures
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        handler = logging.NullHandler()  # or Pillow's log messages would be printed where logging is not set up
        logging.getLogger("PIL").addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger("PIL").removeHandler(handler)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


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
