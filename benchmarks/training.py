"""Speed of the training: ratios measured in one run, on a machine that should do nothing else.

    CHROMAGAN_DATA=FOLDER python benchmarks/training.py [--steps 40] [--only lite] [--data FOLDER]

Prints pictures per second of the whole loop beside the same networks, objective, batch, critic and teacher written
the plain way (scikit-image's Lab picture by picture in the data set, float32, contiguous memory), the share of the
measured matrix-product peak that a generator step reaches, and what the data path costs. Every loop has its own
process, and they take turns step by step: a shared machine is faster at one time than at another, but alike for all.

Two recipes are timed: chromagan_lite_cpu, with which the packaged weights learn on, and the published networks at 224
pixels with the published teacher, VGG-16. Networks and teacher start from random weights here: they do not change the
speed. Both take half an hour and, together at 224 pixels, 20 GB of memory.
"""

import argparse
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from skimage.color import rgb2lab
from torch.utils.data import DataLoader, Dataset, default_collate
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # of this checkout, installed or not

import train
from modeling_chromagan import ChromaGANCritic, ChromaGANGenerator
from modeling_chromagan.color import ab_bins, decode_ab, rgb8_to_lab
from modeling_chromagan.sources.imagenet_classes import imagenet_class_names
from modeling_chromagan.sources.picture_files import decode_picture
from modeling_chromagan.training import objectives
from modeling_chromagan.training.adversarial import critic_loss
from modeling_chromagan.training.batch_norm import fix_batch_norms
from modeling_chromagan.training.color_bins import bins_loss
from modeling_chromagan.training.data.augmentation import RowRandom, to_network_units
from modeling_chromagan.training.data.batches import BatchPlan
from modeling_chromagan.training.data.sources import open_sources
from modeling_chromagan.training.recipe import Data, Recipe, Teacher, load_recipe
from modeling_chromagan.training.run.interruption import Interruption
from modeling_chromagan.training.run.processes import keep_freed_memory
from modeling_chromagan.training.step import OPTIMIZERS, Updates
from modeling_chromagan.training.teacher import ClassTeacher, VGG16Classifier


class Case(NamedTuple):
    """A recipe whose loop is timed, on Tiny ImageNet alone."""

    recipe: str
    size: int  # pixels a side
    batch_size: int


LITE = Case("chromagan_lite_cpu.yaml", 160, 16)
PUBLISHED = Case("chromagan_tiny224.yaml", 224, 10)

CALLS = 5  # of what takes a few milliseconds, in a row: waking the second thread is not part of it
PHASES = ((0, "color-loss phase", 2.5), (1, "adversarial phase", 1.7))
PRODUCT, PRODUCTS = 2048, 4  # rows of the square matrices whose product is the peak, the fastest of 1,024 to 4,096


def apart(function: Callable, *arguments, our_memory: bool = True):
    """What a function returns in a process of its own, whose memory is had as in `train.py`, or as torch has it."""
    os.environ["THP_MEM_ALLOC_ENABLE"] = str(int(our_memory))
    prepare = keep_freed_memory if our_memory else None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare) as pool:
        return pool.submit(function, *arguments).result()


class Turns:
    """In a loop's process: called at the end of every step, it reports the step's seconds and waits for its turn."""

    def __init__(self, connection: Connection):
        self.connection, self.started = connection, None

    def __call__(self) -> None:
        if self.started is not None:
            self.connection.send(time.perf_counter() - self.started)
        self.connection.recv()
        self.started = time.perf_counter()


def follow(connection: Connection, loop: Callable, our_memory: bool, *arguments) -> None:
    """A process with a loop in it, until nobody waits for its steps any more."""
    if our_memory:
        keep_freed_memory()
    with suppress(EOFError, BrokenPipeError):
        loop(Turns(connection), *arguments)


def step_seconds(steps: int, loops: list[tuple]) -> np.ndarray:
    """Seconds of every step of several loops that take turns, (steps, loops); the first three steps are left out.

    `loops` are functions, whether they have memory as `train.py` has it, and their further arguments.
    """
    context, connections, processes = get_context("spawn"), [], []
    for loop, our_memory, *arguments in loops:
        os.environ["THP_MEM_ALLOC_ENABLE"] = str(int(our_memory))  # read when torch starts
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=follow, args=(theirs, loop, our_memory, *arguments), daemon=True))
        processes[-1].start()
        theirs.close()
        connections.append(ours)
    times = []
    for _ in range(3 + steps):
        times.append([])
        for connection in connections:
            connection.send(None)
            times[-1].append(connection.recv())
    for connection, process in zip(connections, processes, strict=True):
        connection.close()
        process.join()
    return np.array(times[3:])


def seconds(*functions: Callable[[], object], repeats: int = 7, warm_up: int = 2) -> list[float]:
    """Median seconds of a call of each function; they take turns, as a machine is now faster, now slower."""
    times = []
    for _ in range(warm_up + repeats):
        times.append([])
        for function in functions:
            start = time.perf_counter()
            function()
            times[-1].append(time.perf_counter() - start)
    return np.median(times[warm_up:], axis=0).tolist()


def make_recipe(case: Case, data: str, phase: int, steps: int, judging: bool = True, device: str = "cpu") -> Recipe:
    """A case's recipe on one source, its first phase without a critic, without samples and checkpoints."""
    path = ROOT / "recipes" / case.recipe
    batches = f"[{{size: {case.size}, batch_size: {case.batch_size}, weights: {{tiny_imagenet: 1}}}}]"
    shipped = load_recipe(path)
    source = f"{{path: '{data}', min_crop: 0.8}}"
    adversarial = [f"phases.1.steps={steps}", "phases.1.objective.critic_warmup_steps=0"]
    adversarial += ["phases.1.objective.reuse_forward=false"]
    return load_recipe(
        path,
        [
            f"data.sources={{tiny_imagenet: {source}}}",
            "data.validation={source: tiny_imagenet, split: valid, samples: 8}",
            *(f"phases.{i}.batches={batches}" for i in range(len(shipped.phases))),
            f"phases.0.steps={steps if phase == 0 else 1}",
            "phases.0.objective.adversarial_weight=0",
            *(adversarial if len(shipped.phases) > 1 else []),
            "init_from=null",
            "backbone_weights=null",
            f"device={device}",
            "ema_decay=0",
            "output=unused",
            *([] if judging else ["data.min_colorfulness=0", "data.min_hue_deviation=0"]),
        ],
    )


def make_teacher(settings: Teacher) -> ClassTeacher | None:
    """VGG-16 with random weights where a recipe wants it trained."""
    if settings.kind == "none":
        return None
    torch.manual_seed(0)
    return ClassTeacher(VGG16Classifier(), dict(enumerate(imagenet_class_names())), (224, 224))


def make_trainer(recipe: Recipe, phase: int) -> train.Trainer:
    """`train.py`'s trainer before one phase of `make_recipe`'s, which keeps and says nothing of what it does."""
    train.load_teacher = make_teacher  # of this process alone
    trainer = train.Trainer(recipe, Accelerator(cpu=recipe.device == "cpu"))
    trainer.interruption = Interruption()
    trainer.log = trainer.sample = trainer.save = trainer.save_model = lambda *_: None
    trainer.step = 0 if phase == 0 else 1
    return trainer


def our_loop(
    turn: Callable[[], None],
    case: Case,
    data: str,
    phase: int,
    steps: int,
    judging: bool = False,
    teaching: bool = True,
) -> None:
    """`train.py`'s own loop in one phase, its data path included.

    Args:
        judging: whether pictures are looked at for flaws, which the plain loop leaves out.
        teaching: whether the teacher is asked; its answers are there already if not.
    """
    trainer = make_trainer(make_recipe(case, data, phase, steps, judging), phase)
    update = Updates.update

    def update_and_wait(*arguments):
        result = update(*arguments)
        turn()
        return result

    Updates.update = update_and_wait  # of this process alone
    if not teaching:
        answers = trainer.teacher(torch.rand(case.batch_size, 1, case.size, case.size))
        trainer.teacher.forward = lambda pictures: answers
    trainer.run_phase(phase, trainer.step, {})


class PlainPictures(Dataset):
    """As most repositories have it: decode, crop, flip, scikit-image's Lab, one picture at a time."""

    def __init__(self, table, length: int, size: int):
        self.table, self.length, self.size = table, length, size

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.table[int(np.random.default_rng(index).integers(len(self.table)))]
        return plain_item(row, self.size)


def plain_item(row: dict, size: int) -> dict[str, torch.Tensor]:
    picture = decode_picture(row["image"])
    side = min(picture.size) * np.random.uniform(0.8, 1)
    left, top = np.random.uniform(0, picture.width - side), np.random.uniform(0, picture.height - side)
    box = (left, top, left + side, top + side)
    picture = picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
    if np.random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    lab = rgb2lab(np.asarray(picture)).astype("float32").transpose(2, 0, 1)
    lab = torch.from_numpy(np.ascontiguousarray(lab))
    return {"luminance": lab[:1] / 100, "ab": (lab[1:] + 128) / 255}


def plain_loop(turn: Callable[[], None], case: Case, data: str, phase: int, steps: int) -> None:
    """The same steps, written the plain way."""
    recipe = make_recipe(case, data, phase, steps)
    table = open_table(recipe)
    objective, settings = recipe.phases[phase].objective, recipe.phases[phase].generator_optimizer
    teacher = make_teacher(recipe.teacher)
    config, rarity = recipe.build_config(), torch.ones(len(ab_bins()))
    torch.manual_seed(0)
    generator, critic = ChromaGANGenerator(config).train(), ChromaGANCritic(config).train()
    optimizers = [
        OPTIMIZERS[settings.name](generator.parameters(), 1e-4),
        torch.optim.Adam(critic.parameters(), 1e-4),
    ]
    if recipe.phases[phase].fixed_batch_norm:
        fix_batch_norms(generator)
    pictures = PlainPictures(table, steps * case.batch_size, case.size)
    for batch in DataLoader(pictures, batch_size=case.batch_size):
        luminance, real_ab = batch["luminance"], batch["ab"]
        output = generator(luminance)
        error = objectives.color_error(objective, output.reconstruction, real_ab)
        total = objective.color_weight * error.mean()
        if objective.bins_weight:
            bins = bins_loss(output.bin_logits, decode_ab(real_ab, "unit8"), rarity)
            total = total + objective.bins_weight * bins
        if teacher:
            classes = objectives.class_distribution_loss(output.logits, teacher(luminance))
            total = total + objective.class_weight * classes
        if phase:
            fake = torch.cat([luminance, output.reconstruction], dim=1)
            total = total - objective.adversarial_weight * critic(fake).scores.mean()
        optimizers[0].zero_grad()
        total.backward()
        if settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(generator.parameters(), settings.clip_norm)
        optimizers[0].step()
        if phase:
            with torch.no_grad():
                fake_ab = generator(luminance).reconstruction
            optimizers[1].zero_grad()
            critic_loss(objective, critic, luminance, real_ab, fake_ab)[0].backward()
            optimizers[1].step()
        turn()


def product_loop(turn: Callable[[], None], dtype: torch.dtype, steps: int) -> None:
    """A few matrix products a step: nothing that a network does is faster."""
    a, b = torch.randn(PRODUCT, PRODUCT).to(dtype), torch.randn(PRODUCT, PRODUCT).to(dtype)
    for _ in range(steps):
        for _ in range(PRODUCTS):
            a @ b
        turn()


def make_generator_step(data: str) -> Callable[[], None]:
    """Forward, backward and Adam of the generator alone."""
    torch.manual_seed(0)
    generator = ChromaGANGenerator(make_recipe(LITE, data, 0, 1).build_config())
    generator = generator.to(memory_format=torch.channels_last).train()
    fix_batch_norms(generator)
    optimizer = torch.optim.Adam(generator.parameters(), 1e-4)
    luminance, target = (torch.rand(LITE.batch_size, channels, LITE.size, LITE.size) for channels in (1, 2))

    def step() -> None:
        output = generator(luminance)
        loss = (output.reconstruction - target).square().mean() + output.bin_logits.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def generator_loop(turn: Callable[[], None], data: str, steps: int) -> None:
    step = make_generator_step(data)
    for _ in range(steps):
        step()
        turn()


def generator_operations(data: str) -> int:
    """Operations of a generator step, counted by torch."""
    step = make_generator_step(data)
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def open_table(recipe: Recipe):
    photographs, _, _ = open_sources(recipe.data, recipe.seed)
    return photographs["tiny_imagenet"].data


def data_costs(data: str) -> dict[str, float]:
    """Seconds per picture of Lab and of the whole data path, ours and the plain one."""
    recipe = make_recipe(LITE, data, 0, 1)
    table = open_table(recipe)
    random, batch_size = np.random.default_rng(0), LITE.batch_size
    rgb = torch.from_numpy(random.integers(0, 256, (batch_size, 3, LITE.size, LITE.size), dtype=np.uint8))
    pictures = [np.ascontiguousarray(picture) for picture in rgb.permute(0, 2, 3, 1).numpy()]
    phase = recipe.phases[0]
    unjudged = recipe.data.model_copy(update={"min_colorfulness": 0, "min_hue_deviation": 0})
    steps = iter(range(1000))

    def our_path(settings: Data) -> Callable[[], None]:
        photographs, _, _ = open_sources(settings, recipe.seed)
        plan = BatchPlan(photographs, phase.batches, 1000, 0, 0, 1)

        def path():
            batch = plan[next(steps)]
            to_network_units(batch["rgb"], "unit8", phase.batches[0].degradation, RowRandom(0, batch_size))

        return path

    def plain_path() -> dict:
        rows = random.integers(len(table), size=batch_size).tolist()  # others every time, as ours are
        return default_collate([plain_item(table[row], LITE.size) for row in rows])

    lab, plain_lab = seconds(
        lambda: [rgb8_to_lab(rgb) for _ in range(CALLS)],
        lambda: [rgb2lab(picture) for picture in pictures * CALLS],
        repeats=40,
    )
    path, judged, plain = seconds(our_path(unjudged), our_path(recipe.data), plain_path, repeats=40)
    per_batch = {
        "lab": lab / CALLS,
        "plain lab": plain_lab / CALLS,
        "path": path,
        "judged path": judged,
        "plain path": plain,
    }
    return {name: value / batch_size for name, value in per_batch.items()}


def print_ratios(title: str, case: Case, times: np.ndarray, names: list[str]) -> None:
    """What loops reach beside the plain one, the first of them; `times` are seconds of (steps, loops)."""
    paces = case.batch_size / np.median(times, axis=0)
    print(f"{title}: plain {paces[0]:.2f} pictures/s")
    for at, name in enumerate(names, start=1):
        low, middle, high = np.percentile(times[:, 0] / times[:, at], (10, 50, 90))
        print(f"  {middle:.2f} {name}, eight of ten steps from {low:.2f} to {high:.2f} ({paces[at]:.2f} pictures/s)")


def time_lite_recipe(data: str, steps: int) -> None:
    """Prints what the data path costs, what the loop reaches at 160 pixels, and how near that is to the peak."""
    # Before the loops, after which these few milliseconds were seen to take longer.
    costs = apart(data_costs, data)
    print(f"Lab in batches: {costs['plain lab'] / costs['lab']:.1f} times scikit-image's picture by picture (aim 5)")
    print(f"decode, crop, flip, Lab: {costs['plain path'] / costs['path']:.1f} times the plain path (aim 3)")
    judged = costs["plain path"] / costs["judged path"]
    print(f"the same with every picture judged (gray, toned), which the plain path leaves out: {judged:.1f} times")

    length = steps + 5  # one before the first turn, three to warm up, one never finished
    times = step_seconds(
        steps,
        [
            (plain_loop, False, LITE, data, 0, length),
            (our_loop, True, LITE, data, 0, length),
            (our_loop, True, LITE, data, 0, length, True),
            (our_loop, False, LITE, data, 0, length),
            (generator_loop, True, data, length),
            (product_loop, True, torch.float32, length),
        ],
    )
    names = ["times the plain loop", "with every picture judged", "with torch's own use of memory"]
    print_ratios(f"color-loss phase, {LITE.recipe}", LITE, times[:, :4], names)
    medians = np.median(times, axis=0)
    share = 100 * costs["judged path"] * LITE.batch_size / medians[2]
    print(f"  data path, every picture judged: {share:.0f} % of a step (aim 10 %)")
    # How much of what the processor can do at most each loop uses, and so how much faster any could be.
    speeds = apart(generator_operations, data) / medians / 1e9
    peak = PRODUCTS * 2 * PRODUCT**3 / medians[5] / 1e9
    print(f"matrix products: {peak:.0f} GFLOP/s in float32")
    for at, what in ((4, "generator forward, backward, Adam"), (1, "the whole loop"), (0, "the plain loop")):
        print(f"  {speeds[at]:.0f} GFLOP/s, {100 * speeds[at] / peak:.0f} % of the peak: {what}")


def time_published_networks(data: str, steps: int) -> None:
    """Prints what the loop reaches at 224 pixels, full width, with a teacher."""
    for phase, name, aim in PHASES:
        times = step_seconds(
            steps,
            [
                (plain_loop, False, PUBLISHED, data, phase, steps + 5),
                (our_loop, True, PUBLISHED, data, phase, steps + 5),
                (our_loop, False, PUBLISHED, data, phase, steps + 5),
                (our_loop, True, PUBLISHED, data, phase, steps + 5, False, False),
            ],
        )
        print_ratios(
            f"{name}, {PUBLISHED.recipe}, its teacher included",
            PUBLISHED,
            times,
            [f"times the plain loop (aim {aim})", "with torch's own use of memory", "with the teacher's answers kept"],
        )


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """`--data`, Tiny ImageNet: the local copy if there is one."""
    local = Path(os.environ.get("CHROMAGAN_DATA", "")) / "tiny-imagenet"
    default = str(local) if local.is_dir() else "zh-plus/tiny-imagenet"
    parser.add_argument("--data", default=default, help="Tiny ImageNet: folder or Hub id (default: %(default)s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps", type=int, default=40, help="of every loop, a fifth at 224 pixels; the median counts"
    )
    parser.add_argument("--only", choices=["lite", "published"], help="one of the two recipes")
    add_data_argument(parser)
    options = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"load before the start: {os.getloadavg()[0]:.1f} (figures are of use below 0.5 only)")
    if options.only != "published":
        time_lite_recipe(options.data, options.steps)
    if options.only != "lite":
        time_published_networks(options.data, max(1, options.steps // 5))  # each is some seconds long
    peak_memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory of a process: {peak_memory:.1f} GiB")


if __name__ == "__main__":
    main()
