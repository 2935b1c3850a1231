"""How much is worked on at the same time: many small pictures, or one large one."""

import contextlib
import threading
from collections.abc import Iterator

PIXELS_AT_ONCE = 100_000_000


class PixelBudget:
    """Lets threads wait until their picture fits beside those of the others; one above the limit is alone."""

    def __init__(self, limit: int = PIXELS_AT_ONCE):
        self.limit, self.held = limit, 0
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Inside it, a picture of so many pixels is being worked on."""
        with self.changed:
            self.changed.wait_for(lambda: not self.held or self.held + pixels <= self.limit)
            self.held += pixels
        try:
            yield
        finally:
            with self.changed:
                self.held -= pixels
                self.changed.notify_all()


__all__ = ["PIXELS_AT_ONCE", "PixelBudget"]
