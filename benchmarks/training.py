"""Speed of the training: ratios measured in one run, on a machine that should do nothing else.

    CHROMAGAN_DATA=FOLDER python benchmarks/training.py [--steps 8] [--data FOLDER]

Prints pictures per second of the whole loop beside the same networks, objective, batch, critic and teacher written
the plain way (scikit-image's Lab picture by picture in the data set, float32, contiguous memory). Every loop has its
own process, and they take turns step by step: a shared machine is faster at one time than at another, but alike for
all.

Timed are the published networks at 224 pixels with the published teacher, VGG-16. Networks and teacher start from
random weights here: they do not change the speed. It takes less than half an hour and 20 GB of memory.
"""

import argparse
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from skimage.color import rgb2lab
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # of this checkout, installed or not

import train
from modeling_chromagan import ChromaGANCritic, ChromaGANGenerator
from modeling_chromagan.sources.imagenet_classes import imagenet_class_names
from modeling_chromagan.sources.picture_files import decode_picture
from modeling_chromagan.training import networks
from modeling_chromagan.training.data.sources import open_sources
from modeling_chromagan.training.recipe import Recipe, load_recipe
from modeling_chromagan.training.run.interruption import Interruption
from modeling_chromagan.training.run.processes import keep_freed_memory
from modeling_chromagan.training.step import TrainingStep
from modeling_chromagan.training.teacher import ClassTeacher, VGG16Classifier

RECIPE = ROOT / "recipes" / "chromagan_tiny224.yaml"
SIZE = 224  # pixels a side
BATCH_SIZE = 10
PHASES = ((0, "color-loss phase", 2.5), (1, "adversarial phase", 1.7))


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


def make_recipe(data: str, phase: int, steps: int) -> Recipe:
    """The recipe on one source, its first phase without a critic, without samples, checkpoints and filters."""
    batches = f"[{{size: {SIZE}, batch_size: {BATCH_SIZE}, weights: {{tiny_imagenet: 1}}}}]"
    return load_recipe(
        RECIPE,
        [
            f"data.sources={{tiny_imagenet: {{path: '{data}', min_crop: 0.8}}}}",
            "data.validation={source: tiny_imagenet, split: valid, samples: 8}",
            "data.min_colorfulness=0",
            "data.min_hue_deviation=0",
            *(f"phases.{number}.batches={batches}" for number, _, _ in PHASES),
            f"phases.0.steps={steps if phase == 0 else 1}",
            "phases.0.objective.weights.adversarial=0",
            f"phases.1.steps={steps}",
            "phases.1.objective.critic_warmup_steps=0",
            "phases.1.objective.reuse_forward=false",
            "init_from=null",
            "backbone_weights=null",
            "device=cpu",
            "ema_decay=0",
            "output=unused",
        ],
    )


def make_teacher(*_) -> ClassTeacher:
    """VGG-16 with random weights."""
    torch.manual_seed(0)
    return ClassTeacher(VGG16Classifier(), dict(enumerate(imagenet_class_names())), (224, 224))


def our_loop(turn: Callable[[], None], data: str, phase: int, steps: int, teaching: bool = True) -> None:
    """`train.py`'s own loop in one phase, its data path included; without `teaching` the answers are there already."""
    recipe = make_recipe(data, phase, steps)
    networks.load_teacher = make_teacher  # of this process alone
    trainer = train.Trainer(recipe, Accelerator(cpu=True))
    trainer.interruption = Interruption(str)
    trainer.log = trainer.sample = trainer.save = trainer.save_model = lambda *_: None
    trainer.step = 0 if phase == 0 else 1
    update = TrainingStep.update

    def update_and_wait(*arguments):
        result = update(*arguments)
        turn()
        return result

    TrainingStep.update = update_and_wait  # of this process alone
    if not teaching:
        answers = trainer.networks.teacher(torch.rand(BATCH_SIZE, 1, SIZE, SIZE))
        trainer.networks.teacher.forward = lambda pictures: answers
    trainer.run_phase(phase, trainer.step)


class PlainPictures(Dataset):
    """As most repositories have it: decode, crop, flip, scikit-image's Lab, one picture at a time."""

    def __init__(self, table, length: int):
        self.table, self.length = table, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng(index)
        picture = decode_picture(self.table[int(random.integers(len(self.table)))]["image"])
        side = min(picture.size) * random.uniform(0.8, 1)
        left, top = random.uniform(0, picture.width - side), random.uniform(0, picture.height - side)
        box = (left, top, left + side, top + side)
        picture = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        lab = rgb2lab(np.asarray(picture)).astype("float32").transpose(2, 0, 1)
        lab = torch.from_numpy(np.ascontiguousarray(lab))
        return {"luminance": lab[:1] / 100, "ab": (lab[1:] + 128) / 255}


def plain_loop(turn: Callable[[], None], data: str, phase: int, steps: int) -> None:
    """The same steps, written the plain way: MSE + 0.003 KL + 0.1 Wasserstein, and the critic with its penalty."""
    recipe = make_recipe(data, phase, steps)
    photographs, _, _ = open_sources(recipe.data, recipe.seed)
    config, teacher = recipe.build_config(), make_teacher()
    torch.manual_seed(0)
    generator, critic = ChromaGANGenerator(config).train(), ChromaGANCritic(config).train()
    of_generator, of_critic = (torch.optim.Adam(network.parameters(), 2e-5) for network in (generator, critic))
    pictures = PlainPictures(photographs["tiny_imagenet"].rows.table, steps * BATCH_SIZE)
    for batch in DataLoader(pictures, batch_size=BATCH_SIZE):
        luminance, real_ab = batch["luminance"], batch["ab"]
        output = generator(luminance)
        classes = F.kl_div(output.logits.log_softmax(1), teacher(luminance), reduction="batchmean")
        total = (output.reconstruction - real_ab).square().mean() + 0.003 * classes
        if phase:
            total = total - 0.1 * critic(torch.cat([luminance, output.reconstruction], dim=1)).scores.mean()
        of_generator.zero_grad()
        total.backward()
        of_generator.step()
        if phase:
            with torch.no_grad():
                fake_ab = generator(luminance).reconstruction
            of_critic.zero_grad()
            plain_critic_loss(critic, luminance, real_ab, fake_ab).backward()
            of_critic.step()
        turn()


def plain_critic_loss(
    critic: ChromaGANCritic, luminance: torch.Tensor, real_ab: torch.Tensor, fake_ab: torch.Tensor
) -> torch.Tensor:
    real, fake = (critic(torch.cat([luminance, ab], dim=1)).scores.mean() for ab in (real_ab, fake_ab))
    share = torch.rand(len(real_ab), 1, 1, 1)
    between = (share * real_ab + (1 - share) * fake_ab).requires_grad_()
    scores = critic(torch.cat([luminance, between], dim=1)).scores
    (gradient,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    return fake - real + 10 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def print_ratios(title: str, times: np.ndarray, names: list[str]) -> None:
    """What loops reach beside the plain one, the first of them; `times` are seconds of (steps, loops)."""
    paces = BATCH_SIZE / np.median(times, axis=0)
    print(f"{title}: plain {paces[0]:.2f} pictures/s")
    for at, name in enumerate(names, start=1):
        low, middle, high = np.percentile(times[:, 0] / times[:, at], (10, 50, 90))
        print(f"  {middle:.2f} {name}, eight of ten steps from {low:.2f} to {high:.2f} ({paces[at]:.2f} pictures/s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="of every loop; the median counts (default: %(default)s)")
    local = Path(os.environ.get("CHROMAGAN_DATA", "")) / "tiny-imagenet"
    default = str(local) if local.is_dir() else "zh-plus/tiny-imagenet"
    parser.add_argument("--data", default=default, help="Tiny ImageNet: folder or Hub id (default: %(default)s)")
    options = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"load before the start: {os.getloadavg()[0]:.1f} (figures are of use below 0.5 only)")
    length = options.steps + 5  # one before the first turn, three to warm up, one never finished
    for phase, name, aim in PHASES:
        loops = [
            (plain_loop, False, options.data, phase, length),
            (our_loop, True, options.data, phase, length),
            (our_loop, False, options.data, phase, length),
            (our_loop, True, options.data, phase, length, False),
        ]
        names = [
            f"times the plain loop (aim {aim})",
            "with torch's own use of memory",
            "with the teacher's answers kept",
        ]
        print_ratios(f"{name}, {RECIPE.name}, its teacher included", step_seconds(options.steps, loops), names)
    peak_memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory of a process: {peak_memory:.1f} GiB")


if __name__ == "__main__":
    main()
