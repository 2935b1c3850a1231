"""AVIF, still and moving, by Pillow, which writes 8 bits a channel."""

import io
from collections.abc import Iterator
from typing import BinaryIO

from ..image_saving import AVIF_SETTINGS, srgb_profile
from .file_settings import FileSettings, Notes, frame_images, whole_milliseconds
from .pages import ColoredPage

SAYABLE = ("exif", "xmp")


def write_avif(pages: Iterator[ColoredPage], file: BinaryIO, settings: FileSettings) -> Notes:
    """Writes one picture, or frames: quality 95, no chroma subsampling, 8 bits.

    Raises:
        ValueError: if frames differ in size.
    """
    notes = Notes()
    frames = list(frame_images(pages, "AVIF", notes))
    page, image = frames[0]
    notes.add_unsaid(page.metadata, "AVIF", SAYABLE)
    options: dict = {}
    if settings.layout == "frames":
        durations = whole_milliseconds([frame.duration for frame, _ in frames], "AVIF", notes)
        if settings.loops:
            notes.add("AVIF is written to repeat for ever")
        options = {"save_all": True, "append_images": [other for _, other in frames[1:]], "duration": durations}
    memory = io.BytesIO()
    image.save(
        memory,
        "AVIF",
        icc_profile=settings.profile or srgb_profile(),
        exif=page.metadata.exif,
        xmp=page.metadata.xmp,
        **AVIF_SETTINGS,
        **options,
    )
    file.write(memory.getbuffer())
    return notes
