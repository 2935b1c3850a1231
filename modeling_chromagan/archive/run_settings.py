"""What decides the bytes of a result besides its input and the weights."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DEPTHS = ("same", "8", "16")
METADATA = ("keep", "minimal", "none")
WORKING_SPACES = ("srgb", "adobe-rgb", "prophoto", "same")

DEEP_FORMATS = ("png", "tiff", "jp2")  # that hold more than 8 bits a channel without loss


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run, recorded with every result: another value makes another result.

    output_format: one of `OUTPUT_FORMATS`; None keeps each input's own where it can be written.
    depth: "same" as the input's where the format can hold it, "8" or "16" bits a channel.
    profile: one of `WORKING_SPACES`, or the path of an ICC profile.
    metadata: one of `METADATA`.
    provenance: whether results say that their colors are invented, and by what.
    recolor: whether pictures that are in color already are colorized all the same.
    working_size, saturation, borders, max_pixels: of the image processor; None is the model's own.
    dtype: of the network's numbers.
    """

    output_format: str | None = None
    depth: str = "same"
    profile: str = "srgb"
    metadata: str = "keep"
    provenance: bool = True
    recolor: bool = False
    working_size: int | None = None
    saturation: float | None = None
    borders: str | None = None
    max_pixels: int | None = None
    dtype: str = "auto"

    def recorded(self) -> dict[str, Any]:
        """The settings that are not the default, as a manifest states them; an ICC file by its content."""
        given = {name: value for name, value in asdict(self).items() if value != getattr(type(self), name)}
        if self.profile not in WORKING_SPACES:
            given["profile"] = hashlib.sha256(Path(self.profile).read_bytes()).hexdigest()
        return given


__all__ = ["DEEP_FORMATS", "DEPTHS", "METADATA", "WORKING_SPACES", "RunSettings"]
