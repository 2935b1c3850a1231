"""WebP, lossless, still and moving, by Pillow.

WebP container specification (RFC 9649).
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

from ..image_saving import WEBP_SETTINGS, srgb_profile
from .file_settings import FileSettings, Notes, frame_images, whole_milliseconds
from .pages import ColoredPage

SAYABLE = ("exif", "xmp")


def write_webp(pages: Iterator[ColoredPage], file: BinaryIO, settings: FileSettings) -> Notes:
    """Writes one picture, or frames, without loss but that of 16 bits.

    Raises:
        ValueError: if frames differ in size.
    """
    notes = Notes()
    frames = list(frame_images(pages, "WebP", notes))
    page, image = frames[0]
    notes.add_unsaid(page.metadata, "WebP", SAYABLE)
    options: dict = {}
    if settings.layout == "frames":
        durations = whole_milliseconds([frame.duration for frame, _ in frames], "WebP", notes)
        options = {
            "save_all": True,
            "append_images": [other for _, other in frames[1:]],
            "duration": durations,
            "loop": settings.loops,
        }
    memory = io.BytesIO()
    image.save(
        memory,
        "WEBP",
        icc_profile=settings.profile or srgb_profile(),
        exif=page.metadata.exif,
        xmp=page.metadata.xmp,
        **WEBP_SETTINGS,
        **options,
    )
    file.write(memory.getbuffer())
    return notes
