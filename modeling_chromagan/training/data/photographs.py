"""Pictures of one source that pass the filters, by position in an endless seeded order."""

from collections.abc import Iterator, Sequence

from PIL import Image as PillowImage

from ...errors import ImageLoadError, SettingError
from ...sources.picture_files import decode_picture
from ..recipe import Data, Source
from .filters import FILTERS, failed_filters
from .shared_counts import SharedCounts
from .shuffled_stream import StreamedRows
from .table_rows import TableRows

NO_LABEL = -1
READ_AHEAD_PIXELS = 2**22  # of decoded pictures that are judged together

Read = tuple[PillowImage.Image | None, int]  # a picture, `None` for a broken one, with its label


def read_row(row: dict, source: Source, short_side: int | None = None) -> Read:
    """A row's picture, `None` for a broken one, and its label, `NO_LABEL` where the source teaches none.

    Args:
        row: with an encoded picture.
        source: its columns.
        short_side: of the decoded picture that is enough, see `load_color`; `None`: whatever it has.
    """
    label = row[source.label_column] if source.use_labels else NO_LABEL
    try:
        return decode_picture(row[source.image_column], short_side), label
    except (ImageLoadError, OSError):
        return None, label


class Photographs:
    """Pictures of one source that are worth learning color from, by position in an endless seeded order.

    `rejected` counts the places of the order that were passed over, by filter: over an epoch, each picture once. The
    picture that takes such a place is one that also stands in its own.

    Args:
        rows: of the source, in an order of their own.
        source: its columns.
        settings: of the filters.
        short_side: of a decoded picture that is enough, see `load_color`; `None`: whatever it has.
    """

    def __init__(self, rows: TableRows | StreamedRows, source: Source, settings: Data, short_side: int | None = None):
        self.rows, self.source, self.settings, self.short_side = rows, source, settings, short_side
        self.rejected = SharedCounts(FILTERS)

    @property
    def size(self) -> int:
        """How many pictures a pass has."""
        return len(self.rows)

    @property
    def remote(self) -> bool:
        """Whether the pictures are read over a network while training."""
        return self.rows.remote

    @property
    def retries(self) -> int:
        """How often a connection was tried again."""
        return self.rows.retries

    def picture(self, position: int) -> tuple[PillowImage.Image, int]:
        """`pictures` of one position."""
        return next(self.pictures([position]))

    def pictures(self, positions: Sequence[int]) -> Iterator[tuple[PillowImage.Image, int]]:
        """The pictures at some positions and their labels, `NO_LABEL` where the source teaches none.

        A picture that fails a filter is replaced so that the order stays a function of the position alone.

        They are read and judged together, which is faster; no more than `READ_AHEAD_PIXELS` are held, or one picture.

        Raises:
            SettingError: if none of a row group, or none of a hundred, passes.
            StreamError: if a stream cannot be read on.
        """
        read: dict[int, Read] = {}
        pixels = 0
        for position, row in zip(positions, self.rows.rows(positions), strict=True):
            picture, _ = read[position] = read_row(row, self.source, self.short_side)
            pixels += picture.width * picture.height if picture is not None else 0
            if pixels >= READ_AHEAD_PIXELS:
                yield from self.replace_failed(read)
                read, pixels = {}, 0
        yield from self.replace_failed(read)

    def replace_failed(self, read: dict[int, Read]) -> Iterator[tuple[PillowImage.Image, int]]:
        """What was read at some positions, in their order, with others for the pictures that fail a filter."""
        failed = self.judge(read)
        for reason in failed.values():
            self.rejected.add(reason)
        replacements = {position: self.rows.replacements(position) for position in failed}
        attempts = 1
        while failed:
            others = {}
            for position, reason in failed.items():
                row = next(replacements[position], None)
                if row is None:
                    raise SettingError(
                        f"source {self.source.path or self.source.local}: {attempts} pictures in a row are "
                        f"unsuitable, the last one {reason}"
                    )
                others[position] = read_row(row, self.source, self.short_side)
            read |= others
            failed = self.judge(others)
            attempts += 1
        yield from read.values()

    def judge(self, read: dict[int, Read]) -> dict[int, str]:
        """The filters that pictures fail, by position."""
        whole = {position: picture for position, (picture, _) in read.items() if picture is not None}
        reasons = dict(zip(whole, failed_filters(list(whole.values()), self.settings), strict=True))
        return {position: reason for position in read if (reason := reasons.get(position, "broken")) is not None}


__all__ = ["NO_LABEL", "Photographs", "read_row"]
