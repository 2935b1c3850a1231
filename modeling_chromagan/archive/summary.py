"""What has become of the files of a run, counted from its records."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..errors import printable
from .manifest import PROBLEMS, Record


@dataclass
class Summary:
    """Counts of a folder of results.

    counts: files by status. pictures: pages and frames of the colorized files. seconds: that those took, added up.
    """

    counts: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    seconds: float = 0.0

    def add(self, record: Record) -> None:
        """Counts the last record of a result."""
        self.counts[record.status] += 1
        if record.status == "colorized":
            self.pictures += record.pictures
            self.seconds += record.seconds

    @property
    def is_done(self) -> bool:
        """Whether nothing failed, and everything that was begun has ended."""
        return not any(self.counts[status] for status in PROBLEMS)

    def in_words(self) -> str:
        """The counts on one line: "7 colorized (9 pictures), 0 failed" and what else there is."""
        colorized = f"{self.counts['colorized']:,} colorized"
        if self.pictures != self.counts["colorized"]:
            colorized += f" ({self.pictures:,} pictures)"
        words = [colorized, f"{self.counts['failed']:,} failed"]
        more = {
            "crashed": "crashed",
            "started": "begun and not finished",
            "already in color": "already in color",
            "kept": "kept as found",
            "unread": "could not be read",
        }
        words += [f"{self.counts[status]:,} {word}" for status, word in more.items() if self.counts[status]]
        return ", ".join(words)

    def as_values(self) -> dict[str, Any]:
        """The counts for other programs."""
        counts = {
            status.replace(" ", "_"): self.counts[status]
            for status in ("colorized", "already in color", "kept", *PROBLEMS)
        }
        return {**counts, "pictures": self.pictures, "seconds": round(self.seconds, 3)}


def reason_of(record: Record) -> str:
    """Why a file failed or crashed, without its name in front; of one that is not finished, how often it was begun."""
    if record.status == "started":
        return f"begun {record.tries} times" if record.tries > 1 else "begun and not finished"
    return record.reason.removeprefix(f"{printable(record.input)}: ").removeprefix(f"{record.input}: ")


def duration(seconds: float) -> str:
    """A time as people say it, in its two largest units: "3 h 10 min", "45 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    while len(parts) > 1 and not parts[0][0]:
        del parts[0]
    return " ".join(f"{number} {unit}" for number, unit in parts[:2])


__all__ = ["Summary", "duration", "reason_of"]
