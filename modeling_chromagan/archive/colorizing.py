"""One file in, its result out: reading, network, composition and writing, page by page."""

import contextlib
import io
import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageCms

from ..color import decode_luminance
from ..image_saving import srgb_profile
from ..picture_formats import FORMAT_OF_SUFFIX
from ..pixel_blocks import at_depth
from ..rgb_spaces import RGBSpace
from .local_store import Source
from .manifest import SOFTWARE, Output
from .metadata import select
from .metadata_targets import for_format
from .output_plan import compare_name, page_name
from .pages import AlreadyInColorError, ColoredPage, Page
from .pixel_budget import PixelBudget
from .provenance import Provenance, add_provenance
from .run_settings import DEEP_FORMATS, RunSettings
from .scan import Scan, open_scan
from .steady_chroma import steady_chroma
from .working_spaces import IN_SRGB, WorkingSpace, find_coding, find_working_space
from .writing import FORMATS_OF_LAYOUT, Written

if TYPE_CHECKING:
    from ..image_processing_chromagan import PreparedImage
    from ..pipeline_chromagan import ChromaGANPipeline

Predicted = tuple[Page, "PreparedImage | None", torch.Tensor | None]
Write = Callable[..., Written]  # pages, name of the result, and the settings of `write_pages`


@dataclass(frozen=True)
class Result:
    """What was written of one file, pages or frames, and what is to be said about it."""

    outputs: tuple[Output, ...]
    pictures: int
    notes: tuple[str, ...]


class FileColorizer:
    """Colorizes files with one model and one set of settings, from several threads."""

    def __init__(self, pipeline: "ChromaGANPipeline", settings: RunSettings, model: str, weights: str):
        self.pipeline, self.settings = pipeline, settings
        self.model, self.weights = model, weights
        self.budget = PixelBudget()
        # A GPU is shared: it works on one picture while the threads read, compose and write others.
        self.turn = contextlib.nullcontext() if pipeline.device.type == "cpu" else threading.Lock()

    def colorize(
        self,
        source: Source,
        *,
        called: str,
        output: str,
        compare: bool,
        keep: frozenset[str],
        write: Write,
    ) -> Result:
        """Writes the result of one file, and its comparison.

        Args:
            source: the file's bytes or path, and its SHA-256.
            called: what messages and the result's provenance call the file.
            output: name of the result; its suffix says in which format.
            compare: whether a comparison is wanted too: of the first picture.
            keep: names of outputs that are not written.
            write: writes pages under a name.

        Raises:
            ImageLoadError: naming the file that cannot be read, or the page.
            ImageSaveError: naming the result that cannot be written.
            AlreadyInColorError: if all pictures of the file are, and the settings leave such alone.
        """
        max_pixels = self.settings.max_pixels or self.pipeline.image_processor.max_pixels
        provenance = None
        if self.settings.provenance:
            provenance = Provenance(
                software=SOFTWARE,
                model=self.model,
                weights_sha256=self.weights,
                settings=json.dumps(self.settings.recorded(), sort_keys=True),
                original_name=PurePath(called).name,
                original_sha256=source.sha256,
            )
        with open_scan(source.content, name=called, max_pixels=max_pixels) as scan, self.budget.hold(scan.largest):
            return FileRun(self, scan, source, provenance, output, keep, write).run(compare)

    def predict(self, page: Page, **settings: str) -> tuple["PreparedImage", torch.Tensor]:
        """A page as the network saw it, and the reconstruction (2 or 3, h, w)."""
        with torch.inference_mode():
            inputs = self.pipeline.preprocess(page.image, **settings)
            (prepared,) = inputs["originals"]
            height, width = prepared.pixel_values.shape[-2:]
            with self.turn:
                reconstruction = self.pipeline.forward(inputs)["reconstruction"]
        return prepared, reconstruction[0, :, :height, :width]


class FileRun:
    """The way of one open file through the network to its result."""

    def __init__(
        self,
        colorizer: FileColorizer,
        scan: Scan,
        source: Source,
        provenance: Provenance | None,
        output: str,
        keep: frozenset[str],
        write: Write,
    ):
        self.colorizer, self.settings, self.scan = colorizer, colorizer.settings, scan
        self.source = source
        self.provenance, self.output, self.keep, self.write = provenance, output, keep, write
        self.format = FORMAT_OF_SUFFIX[PurePosixPath(output).suffix.lower()]
        self.space = find_working_space(self.settings.profile, scan.profile)
        self.outputs: list[Output] = []
        self.notes = dict.fromkeys(note for note in (*scan.notes, self.space.note) if note)

    def run(self, compare: bool) -> Result:
        """Writes what is wanted; raises as `FileColorizer.colorize` says."""
        predicted = self.predicted(self.pages())
        if compare:
            first = next(predicted)
            predicted = itertools.chain([first], predicted)
            self.write_one([self.compared(*first)], compare_name(self.output), "single", b"")
            del first
        colored = self.all_colored(predicted)
        layout = self.scan.layout
        if self.format not in FORMATS_OF_LAYOUT[layout]:
            layout = "pages" if self.format in FORMATS_OF_LAYOUT["pages"] else "files"
        if layout == "files":
            for number, page in enumerate(colored, start=1):
                profile = self.space.profile if page.profile is None else page.profile
                self.write_one([page], page_name(self.output, number), "single", profile)
        else:
            self.write_one(colored, self.output, layout, self.space.profile)
        return Result(tuple(self.outputs), self.scan.count, tuple(self.notes))

    def pages(self) -> Iterator[Page]:
        """The pages, each decoded once where the first is gray; raises AlreadyInColorError where none is."""
        pages = self.scan.pages()
        first = next(pages)
        if first.colors is None or self.settings.recolor:
            return itertools.chain([first], pages)
        if all(page.colors is not None for page in pages):
            raise AlreadyInColorError
        return self.scan.pages()

    def predicted(self, pages: Iterator[Page]) -> Iterator[Predicted]:
        """Every page as the network saw it, with the reconstruction; of frames, steady ones."""
        predict = self.colorizer.predict
        if self.scan.layout != "frames":
            for page in pages:
                yield (page, None, None) if self.is_left(page) else (page, *predict(page))
            return
        processor = self.colorizer.pipeline.image_processor
        grays, chroma = [], []
        for page in pages:  # margins are picture: where they are found could change from frame to frame
            prepared, reconstruction = predict(page, borders="keep")
            grays.append(decode_luminance(prepared.pixel_values[0], processor.encoding).numpy() / 100)
            chroma.append(reconstruction)
        for page, reconstruction in zip(self.scan.pages(), steady_chroma(grays, chroma), strict=True):
            yield page, processor.prepare(page.image, borders="keep"), reconstruction

    def is_left(self, page: Page) -> bool:
        """Whether a page keeps the colors that it has."""
        return page.colors is not None and not self.settings.recolor

    def pixels(
        self, page: Page, prepared: Any, reconstruction: torch.Tensor | None, depth: int, space: WorkingSpace
    ) -> np.ndarray:
        """(H, W, 3 or 4) pixels of a page with its colors, in a space."""
        if page.colors is None or self.settings.recolor:
            return self.colorizer.pipeline.image_processor.compose_colors(
                reconstruction, prepared, depth=depth, space=space.space, coding=self.coding(page)
            )
        return with_opacity(np.asarray(in_space(page.colors, space)), page, depth)

    def coding(self, page: Page) -> RGBSpace | None:
        """The space whose curve a page's stored values have; pages may differ in it, the result's is the first's."""
        profile = page.image.profile
        is_own = self.settings.profile == "same" and self.space.profile and profile == self.scan.profile
        return self.space.space if is_own else find_coding(profile)

    def all_colored(self, predicted: Iterator[Predicted]) -> Iterator[ColoredPage]:
        """The pages with their colors; raises ImageLoadError before the last if the file has changed meanwhile."""
        for number, found in enumerate(predicted, start=1):
            page = self.colored(*found)
            if number == self.scan.count:
                self.source.check()
            yield page

    def colored(self, page: Page, prepared: Any, reconstruction: torch.Tensor | None) -> ColoredPage:
        """A page with its colors, and with what its file says."""
        self.note(*page.image.notes)
        depth, profile = self.depth(page), None
        if page.stored_color is not None and self.is_left(page) and self.scan.layout != "frames":
            pixels, profile = page.stored_color()
            pixels = with_opacity(pixels, page, depth)
        else:  # frames share one profile
            pixels = self.pixels(page, prepared, reconstruction, depth, self.space)
        metadata = select(page.metadata, self.settings.metadata)
        if self.provenance is not None:
            metadata = add_provenance(metadata, self.provenance)
        metadata, lost = for_format(metadata, self.format, (pixels.shape[1], pixels.shape[0]))
        self.note(*page.metadata.notes, *metadata.notes, *(f"left out: {what}" for what in lost))
        return ColoredPage(pixels, metadata, page.duration, profile)

    def compared(self, page: Page, prepared: Any, reconstruction: torch.Tensor | None) -> ColoredPage:
        """A page before and after, side by side, in 8-bit sRGB."""
        after = Image.fromarray(self.pixels(page, prepared, reconstruction, 8, IN_SRGB))
        both = Image.new(after.mode, (2 * after.width, after.height))
        both.paste(page.image.as_shown(after.mode), (0, 0))
        both.paste(after, (after.width, 0))
        return ColoredPage(np.asarray(both))

    def depth(self, page: Page) -> int:
        """Bits a channel of the result of a page."""
        wanted = page.depth if self.settings.depth == "same" else int(self.settings.depth)
        if wanted == 16 and self.format not in DEEP_FORMATS:
            self.note(f"{self.format.upper()} holds 8 bits a channel, not 16")
            return 8
        return wanted

    def write_one(self, pages: Iterable[ColoredPage], name: str, layout: str, profile: bytes) -> None:
        """Writes a file of the result, unless it is to be kept."""
        if name in self.keep:
            return
        written = self.write(
            pages,
            name,
            output_format=self.format,
            layout=layout,
            profile=profile,
            loops=self.scan.loops,
            compression=self.scan.compression,
            size=0 if layout == "single" else self.scan.written_bytes(self.settings.depth),
        )
        self.outputs.append(Output(name, written.sha256))
        self.note(*written.notes)

    def note(self, *notes: str) -> None:
        """Remembers what is to be said, once each."""
        self.notes |= dict.fromkeys(notes)


def with_opacity(colors: np.ndarray, page: Page, depth: int) -> np.ndarray:
    """(H, W, 3) colors at 8 or 16 bits, with the opacity of their page where it has one."""
    colors = at_depth(colors, depth)
    return colors if page.image.alpha is None else np.dstack([colors, at_depth(page.image.alpha, depth)])


def in_space(picture: Image.Image, space: WorkingSpace) -> Image.Image:
    """An sRGB picture in the colors of another space, 8 bits a channel."""
    if not space.profile:
        return picture
    srgb, profile = (ImageCms.ImageCmsProfile(io.BytesIO(data)) for data in (srgb_profile(), space.profile))
    converted = ImageCms.profileToProfile(picture, srgb, profile)
    assert converted is not None  # it would be where the picture itself is changed
    return converted


__all__ = ["FileColorizer", "Result", "Write"]
