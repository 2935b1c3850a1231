"""Pictures of opened sources -> batches of parts of them, the same at every run of a seed.

What a batch holds is a function of (seed, phase, step) alone, not of how much was read before, so that a resumed run
continues with the pictures an uninterrupted one would have seen, on any number of processes and data workers.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from datasets import Dataset
from PIL import Image as PillowImage

from ...errors import ImageLoadError, SettingError
from ...sources.picture_files import decode_picture
from ..recipe import Batches, Data, Source
from .crops import DRAWN, RandomCrops
from .filters import FLAWS, find_flaws
from .parquet_files import SharedCounts
from .shuffled_stream import StreamedRows

NO_LABEL = -1
READ_AHEAD_PIXELS = 2**22  # of decoded pictures that are judged together


class Photographs:
    """Pictures of one source that are worth learning color from, by position in an endless seeded order.

    `rejected` counts the places of the order that were passed over, by flaw: over an epoch, each picture once. The
    picture that takes such a place is one that also stands in its own.

    Args:
        data: a table, whose order is a permutation per epoch, or streamed rows, which bring their own order.
        source: its columns.
        settings: what makes a picture unsuitable.
        seed: of a table's order and of the pictures that replace others in it.
        rows: of a table that are used; `None`: all.
        short_side: of a decoded picture that is enough, see `load_color`; `None`: whatever it has.
    """

    def __init__(
        self,
        data: Dataset | StreamedRows,
        source: Source,
        settings: Data,
        seed: int = 0,
        rows: np.ndarray | None = None,
        short_side: int | None = None,
    ):
        self.data, self.source, self.settings, self.seed = data, source, settings, seed
        self.short_side = short_side
        self.rejected = SharedCounts(FLAWS)
        self.rows = None
        if not isinstance(data, StreamedRows):
            self.rows = np.arange(len(data)) if rows is None else rows
            if source.max_samples:
                self.rows = self.rows[: source.max_samples]
        self.permutations: dict[int, np.ndarray] = {}

    @property
    def remote(self) -> bool:
        """Whether the pictures are read over a network while training."""
        return isinstance(self.data, StreamedRows) and self.data.files.remote

    @property
    def size(self) -> int:
        """How many pictures a pass has."""
        return len(self.data) if self.rows is None else len(self.rows)

    @property
    def retries(self) -> int:
        """How often a connection was tried again."""
        return self.data.files.counts["connection retries"] if self.rows is None else 0

    def replacements(self, position: int) -> Iterator[dict]:
        """The rows that take the place of the one at a position, one after the other, as long as none is suitable."""
        if self.rows is None:
            yield from islice(self.data.candidates(position), 1, None)
            return
        for attempt in range(99):
            place = np.random.default_rng([self.seed, position, attempt]).integers(len(self.rows))
            yield self.data[int(self.rows[place])]

    def table_row(self, position: int) -> int:
        """Where the picture at a position stands in the table."""
        epoch, place = divmod(position, len(self.rows))
        if epoch not in self.permutations:
            self.permutations = {epoch: np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))}
        return int(self.rows[self.permutations[epoch][place]])

    def picture(self, position: int) -> tuple[PillowImage.Image, int]:
        """`pictures` of one position."""
        return next(self.pictures([position]))

    def pictures(self, positions: Sequence[int]) -> Iterator[tuple[PillowImage.Image, int]]:
        """The pictures at some positions and their labels, `NO_LABEL` where the source teaches none.

        An unsuitable picture is replaced so that the order stays a function of the position alone: in a stream by the
        next suitable one of its row group, otherwise by one drawn from (seed, position, attempt).

        They are read and judged together, which is faster; no more than `READ_AHEAD_PIXELS` are held, or one picture.

        Raises:
            SettingError: if none of a row group, or none of a hundred, is suitable.
            StreamError: if a stream cannot be read on.
        """
        read: dict[int, tuple[PillowImage.Image | None, int]] = {}
        pixels = 0
        for position, row in zip(positions, self.first_rows(positions), strict=True):
            read[position] = self.read(row)
            picture, _ = read[position]
            pixels += picture.width * picture.height if picture is not None else 0
            if pixels >= READ_AHEAD_PIXELS:
                yield from self.suitable(read)
                read, pixels = {}, 0
        yield from self.suitable(read)

    def first_rows(self, positions: Sequence[int]) -> Iterable[dict]:
        """The row that stands at each position, suitable or not."""
        if self.rows is None:
            return (next(self.data.candidates(position)) for position in positions)
        if not positions:
            return []
        columns = self.data[[self.table_row(position) for position in positions]]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def read(self, row: dict) -> tuple[PillowImage.Image | None, int]:
        """A row's picture, `None` for a broken one, and its label."""
        label = row[self.source.label_column] if self.source.use_labels else NO_LABEL
        try:
            return decode_picture(row[self.source.image_column], self.short_side), label
        except (ImageLoadError, OSError):
            return None, label

    def suitable(
        self, read: dict[int, tuple[PillowImage.Image | None, int]]
    ) -> Iterator[tuple[PillowImage.Image, int]]:
        """What was read at some positions, in their order, unsuitable pictures replaced."""
        flaws = self.judge(read)
        for flaw in flaws.values():
            self.rejected.add(flaw)
        replacements = {position: self.replacements(position) for position in flaws}
        attempts = 1
        while flaws:
            others = {}
            for position, flaw in flaws.items():
                row = next(replacements[position], None)
                if row is None:
                    raise SettingError(
                        f"source {self.source.path or self.source.local}: {attempts} pictures in a row are "
                        f"unsuitable, the last one {flaw}"
                    )
                others[position] = self.read(row)
            read |= others
            flaws = self.judge(others)
            attempts += 1
        yield from read.values()

    def judge(self, read: dict[int, tuple[PillowImage.Image | None, int]]) -> dict[int, str]:
        """The flaws of unsuitable pictures, by position."""
        whole = {position: picture for position, (picture, _) in read.items() if picture is not None}
        flaws = dict(zip(whole, find_flaws(list(whole.values()), self.settings), strict=True))
        return {position: flaw for position in read if (flaw := flaws.get(position, "broken")) is not None}


class BatchPlan(torch.utils.data.Dataset):
    """The batches of one phase: item `step` is this process' share of the global batch of that step.

    An item is {"rgb": (B, 3, H, W) uint8, "label": (B,) int64, "kind": index into the phase's batches, "rows": (B,),
    places of these pictures in the global batch}.
    """

    def __init__(
        self, photographs: dict[str, Photographs], kinds: list[Batches], steps: int, seed: int, rank: int, ranks: int
    ):
        self.photographs = photographs
        self.kinds = kinds
        self.steps = steps
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        for kind in kinds:
            if not any(kind.weights.get(name) for name in photographs):
                raise SettingError(f"none of {', '.join(kind.weights)} is to be had; accepted: at least one source")
            if kind.batch_size % ranks:
                raise SettingError(f"batch_size is {kind.batch_size}; accepted: a multiple of the {ranks} processes")

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict:
        number = step % len(self.kinds)
        kind = self.kinds[number]
        random = np.random.default_rng([self.seed, step])
        order = random.permutation(kind.batch_size)
        # For every place of the global batch, whoever takes it.
        drawn = np.concatenate([random.random((kind.batch_size, n)) for n in (4, DRAWN - 4)], axis=1).tolist()
        places = self.places(step)
        rows = torch.arange(kind.batch_size)[self.rank :: self.ranks]
        mine = [int(row) for row in order[self.rank :: self.ranks]]
        crops, labels = RandomCrops(len(mine), kind.shape), torch.empty(len(mine), dtype=torch.int64)
        for name, source in self.photographs.items():
            of_source = [place for place, row in enumerate(mine) if places[row][0] == name]
            pictures = source.pictures([places[mine[place]][1] for place in of_source])
            for place, (picture, label) in zip(of_source, pictures, strict=True):
                crops.add(place, picture, source.source, drawn[mine[place]])
                labels[place] = label
        return {"rgb": crops.finish(), "label": labels, "kind": number, "rows": rows}

    def places(self, step: int) -> list[tuple[str, int]]:
        """Source and position of every row of a batch; shares are kept exactly over time.

        All kinds of batches draw from one order of a source, one after the other, so that an epoch shows every
        picture once, and a source that is read from its beginning to its end is read so.
        """
        turn, number = divmod(step, len(self.kinds))
        places = []
        for name in self.photographs:
            drawn = [
                self.drawn(kind, name, turn + (1 if k < number else 0)) for k, kind in enumerate(self.kinds)
            ]  # by every kind before this step
            count = self.drawn(self.kinds[number], name, turn + 1) - drawn[number]
            places += [(name, position) for position in range(sum(drawn), sum(drawn) + count)]
        return places

    def drawn(self, kind: Batches, name: str, batches: int) -> int:
        """How many pictures of a source the first batches of a kind hold together."""
        weights = {key: kind.weights[key] for key in self.photographs if kind.weights.get(key)}
        if name not in weights:
            return 0
        edges = np.cumsum([0.0, *weights.values()]) / sum(weights.values())
        at = list(weights).index(name)
        before, after = (int(np.round(edge * kind.batch_size * batches)) for edge in edges[at : at + 2])
        return after - before
