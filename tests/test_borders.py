"""Drawn frames of many kinds are found, pictures without a frame stay whole, real film scans are cut at the rebate."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw

from modeling_chromagan.borders import find_borders

WIDTH, HEIGHT = 320, 240


def textured(height=HEIGHT, width=WIDTH, seed=0):
    """A gray scene with detail at many scales and no uniform rim: (height, width) floats in 30..225."""
    generator = np.random.default_rng(seed)
    scene = np.zeros((height, width))
    for cells, weight in ((3, 4.0), (8, 2.0), (24, 1.0), (80, 0.5)):
        grid = Image.fromarray(generator.standard_normal((cells, cells)).astype(np.float32))
        scene += weight * np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
    ranks = np.argsort(np.argsort(scene, axis=None)).reshape(scene.shape)
    return 30 + 195 * ranks / scene.size


def framed(margins, level, scene=None):
    """The scene with margins (left, top, right, bottom) painted over it, and the rectangle that is left."""
    picture = textured() if scene is None else scene.copy()
    height, width = picture.shape
    left, top, right, bottom = margins
    box = (left, top, width - right, height - bottom)
    mask = np.ones(picture.shape, bool)
    mask[box[1] : box[3], box[0] : box[2]] = False
    picture[mask] = level if np.isscalar(level) else level[mask]
    return picture, box


def to_bytes(picture):
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def assert_box(found, expected, shape, share=0.01):
    """Within two pixels and a share of each side."""
    height, width = shape
    allowed = np.array([width, height, width, height]) * share + 2
    assert (np.abs(np.subtract(found, expected)) <= allowed).all(), f"found {found}, drawn {expected}"


MARGINS = {
    "even": (20, 20, 20, 20),
    "uneven": (9, 30, 41, 14),
    "thin": (3, 4, 3, 4),
    "quarter": (WIDTH // 4, HEIGHT // 4, WIDTH // 4, HEIGHT // 4),
    "left": (30, 0, 0, 0),
    "top": (0, 25, 0, 0),
    "right": (0, 0, 50, 0),
    "bottom": (0, 0, 0, 58),
    "letterbox": (0, 26, 0, 26),
    "pillarbox": (38, 0, 38, 0),
    "corner": (25, 0, 0, 18),
    "three": (25, 18, 0, 20),
}


@pytest.mark.parametrize("level", [0, 18, 238, 255])
@pytest.mark.parametrize("margins", MARGINS.values(), ids=MARGINS.keys())
def test_dark_and_light_margins_are_found(margins, level):
    picture, box = framed(margins, level)
    assert_box(find_borders(to_bytes(picture)), box, picture.shape, share=0)


def test_gray_mount_is_found():
    picture, box = framed((30, 22, 28, 35), 128)
    assert_box(find_borders(to_bytes(picture)), box, picture.shape, share=0)


def test_white_mount_around_dark_rebate_is_found():
    picture, box = framed((40, 30, 36, 33), 12)
    picture, _ = framed((25, 17, 22, 15), 245, picture)
    assert_box(find_borders(to_bytes(picture)), box, picture.shape, share=0)


@pytest.mark.parametrize(("level", "ink"), [(12, 250), (240, 40)], ids=["white on black", "black on white"])
def test_writing_in_the_margin_is_forgiven(level, ink):
    picture, box = framed((24, 24, 24, 30), level)
    image = Image.fromarray(to_bytes(picture))
    draw = ImageDraw.Draw(image)
    for x in range(110, 220, 14):  # strokes of a hand-written number, as on sheet film
        draw.line([(x, 235), (x + 6, 215), (x + 9, 233)], fill=ink, width=2)
    draw.line([(6, 60), (14, 75), (5, 92), (15, 110)], fill=ink, width=2)
    assert_box(find_borders(np.asarray(image)), box, picture.shape, share=0.005)


def test_notches_and_perforation_are_forgiven():
    picture, box = framed((14, 34, 14, 34), 15)
    image = Image.fromarray(to_bytes(picture))
    draw = ImageDraw.Draw(image)
    for x in range(4, WIDTH, 29):
        draw.rounded_rectangle((x, 12, x + 16, 27), 3, fill=250)
        draw.rounded_rectangle((x, HEIGHT - 28, x + 16, HEIGHT - 13), 3, fill=250)
    assert_box(find_borders(np.asarray(image)), box, picture.shape, share=0.005)

    picture, box = framed((20, 20, 20, 20), 15)
    image = Image.fromarray(to_bytes(picture))
    draw = ImageDraw.Draw(image)
    for y in (60, 75, 95):  # the code notches of sheet film: bumps of rebate inside the picture, bites out of its rim
        draw.ellipse((14, y, 26, y + 10), fill=15)
        draw.ellipse((WIDTH - 6, y, WIDTH + 6, y + 10), fill=250)
    assert_box(find_borders(np.asarray(image)), box, picture.shape, share=0.005)


@pytest.mark.parametrize("angle", [-1.2, -0.5, 0.7, 1.2])
@pytest.mark.parametrize("level", [10, 245])
def test_slightly_rotated_frame_keeps_the_picture_whole(angle, level):
    picture, box = framed((30, 28, 32, 26), level)
    image = Image.fromarray(to_bytes(picture)).rotate(angle, Image.Resampling.BICUBIC, fillcolor=level)
    found = find_borders(np.asarray(image))
    # A turned edge covers this much depth from end to end; the box may stand anywhere within, but not inside of it.
    reach = np.tan(np.radians(abs(angle))) * np.array([HEIGHT, WIDTH, HEIGHT, WIDTH]) / 2
    outward = np.subtract(box, found) * [1, 1, -1, -1]
    assert (outward >= -2).all(), f"found {found}, drawn {box}"
    assert (outward <= reach + 2).all(), f"found {found}, drawn {box}"


@pytest.mark.parametrize("level", [25, 232])
def test_grainy_scan(level):
    picture, box = framed((28, 20, 24, 22), level)
    picture += np.random.default_rng(1).normal(0, 10, picture.shape)
    assert_box(find_borders(to_bytes(picture)), box, picture.shape, share=0.005)


def test_uneven_paper():
    paper = 232 + np.add.outer(np.linspace(-8, 8, HEIGHT), np.linspace(6, -6, WIDTH))
    paper += np.random.default_rng(2).normal(0, 2, paper.shape)
    picture, box = framed((28, 20, 24, 40), paper)
    assert_box(find_borders(to_bytes(picture)), box, picture.shape, share=0.005)


@pytest.mark.parametrize("level", [8, 250])
def test_rounded_corners(level):
    mask = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(mask).rounded_rectangle((16, 14, WIDTH - 19, HEIGHT - 16), 18, fill=255)
    picture = np.where(np.asarray(mask) > 0, textured(), level)
    assert_box(find_borders(to_bytes(picture)), (16, 14, WIDTH - 18, HEIGHT - 15), picture.shape, share=0)


def test_faded_print_on_faded_paper():
    picture, box = framed((24, 20, 30, 18), 255)
    assert_box(find_borders(to_bytes(110 + picture * 0.3)), box, picture.shape, share=0)


def test_dark_scene_beside_a_dark_rebate():
    """The lower left of the scene is as black as the rebate: the rest of each side has to tell."""
    scene = textured(seed=3)
    scene[HEIGHT // 2 :, : WIDTH // 3] = 14
    picture, box = framed((20, 18, 22, 16), 14, scene)
    assert_box(find_borders(to_bytes(picture)), box, picture.shape, share=0.005)


def test_types_agree_and_the_input_is_left_alone():
    picture, box = framed((9, 30, 41, 14), 18)
    eight = to_bytes(picture)
    assert find_borders(eight) == find_borders(eight.astype(np.uint16) * 257) == box
    unit = eight.astype(np.float32) / np.float32(255)
    before = unit.copy()
    assert find_borders(unit) == box
    np.testing.assert_array_equal(unit, before)
    view = np.repeat(np.repeat(eight, 2, axis=0), 2, axis=1)[::2, ::2][:, ::-1]
    assert find_borders(view) == (WIDTH - box[2], box[1], WIDTH - box[0], box[3])


def test_edges_of_large_pictures_are_measured_at_full_size():
    scene = textured(1500, 2100)
    picture, box = framed((131, 202, 77, 333), 20, scene)
    found = find_borders(to_bytes(picture))
    assert np.abs(np.subtract(found, box)).max() <= 1, f"found {found}, drawn {box}"


def horizon(sky, ground_seed=4):
    """A sky, darker or lighter towards the horizon or flat, over textured ground with a straight edge."""
    picture = textured(seed=ground_seed) * 0.6
    rows = round(HEIGHT * 0.2)
    picture[:rows] = np.asarray(sky)[:, None] if np.ndim(sky) else sky
    return picture


def sky_gradient():
    return horizon(np.linspace(150, 235, round(HEIGHT * 0.2)))


def grainy_overcast_sky():
    picture = horizon(225.0)
    picture[: HEIGHT // 5] += (
        np.random.default_rng(5).normal(0, 1.5, (HEIGHT // 5, WIDTH)).cumsum(axis=1).clip(-25, 25)
    )
    return picture


def night_sky():
    picture = textured(seed=6)
    roofs = (HEIGHT * 0.2 + np.repeat(np.random.default_rng(6).integers(-30, 30, 20), WIDTH // 20)).astype(int)
    picture[np.arange(HEIGHT)[:, None] < roofs] = 6
    return picture


def studio():
    image = Image.new("L", (WIDTH, HEIGHT), 250)
    ImageDraw.Draw(image).ellipse((70, 40, 250, 215), fill=90)
    return np.where(np.asarray(image) < 200, textured(seed=7), 250)


def spotlight():
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return textured(seed=8) * np.clip(1.5 - 1.2 * np.hypot(x, y), 0, 1)


def snow():
    picture = textured(seed=9)
    edge = HEIGHT * 0.8 + 12 * np.sin(np.linspace(0, 5, WIDTH))
    picture[np.arange(HEIGHT)[:, None] > edge] = 252
    return picture


def wall_and_door():
    picture = textured(seed=10)
    picture[:, : WIDTH // 5] = 105 + 8 * np.random.default_rng(10).standard_normal((HEIGHT, 1))
    return picture


def tree_trunk():
    picture = textured(seed=11)
    shade = 20 + 25 * np.abs(np.sin(np.linspace(0, 40, HEIGHT)))
    picture[:, : WIDTH // 8] = shade[:, None]
    return picture


FRAMELESS = [
    textured,
    sky_gradient,
    grainy_overcast_sky,
    night_sky,
    studio,
    spotlight,
    snow,
    wall_and_door,
    tree_trunk,
]


@pytest.mark.parametrize("draw", FRAMELESS, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("turns", range(4))
def test_pictures_without_a_frame_stay_whole(draw, turns):
    picture = np.rot90(to_bytes(draw()), turns)
    height, width = picture.shape
    assert find_borders(picture) == (0, 0, width, height)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (3, 5), (7, 7), (16, 16), (17, 300), (300, 17)])
def test_tiny_and_narrow_pictures(shape):
    height, width = shape
    generator = np.random.default_rng(12)
    assert find_borders(generator.integers(0, 256, shape, dtype=np.uint8)) == (0, 0, width, height)
    assert find_borders(np.zeros(shape, np.uint8)) == (0, 0, width, height)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_uniform_pictures_have_no_frame(level):
    flat = np.full((200, 300), level, np.uint8)
    assert find_borders(flat) == (0, 0, 300, 200)
    grain = to_bytes(flat + np.random.default_rng(13).normal(0, 2, flat.shape))
    assert find_borders(grain) == (0, 0, 300, 200)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), np.zeros((4, 4), bool)])
def test_other_shapes_and_types_are_refused(wrong):
    with pytest.raises(ValueError, match="expected \\(H, W\\) in uint8, uint16 or float32"):
        find_borders(wrong)


@pytest.mark.slow
def test_a_hundred_megapixels_need_little_memory():
    gray = np.full((10_000, 10_000), 12, np.uint8)
    tile = to_bytes(textured(930, 980))
    gray[350:9650, 101:9901] = np.tile(tile, (10, 10))
    tracemalloc.start()
    found = find_borders(gray)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.abs(np.subtract(found, (101, 350, 9901, 9650))).max() <= 2, found
    assert peak < 100e6, f"{peak / 1e6:.0f} MB"


# Where the picture begins and ends, seen by eye on the scans; the outer of two edges where the rebate has a step.
OLD_PHOTOGRAPHS = {
    "LC-DIG-fsa-8a28768.jpg": (5, 9, 631, 424),
    "LC-USF33-012448.jpg": (13, 16, 628, 429),
    "LC-USF34-025768.jpg": (26, 18, 502, 626),
    "LC-USF34-058042.jpg": (21, 20, 616, 457),
    "LC-USF34-073395.jpg": (48, 35, 600, 450),
    "LC-USW3-008462.jpg": (16, 26, 626, 492),
    "LC-USW3-042236.jpg": (61, 47, 586, 565),
    "detroit-1915.jpg": (0, 0, 1000, 553),
    "nipomo-1936.jpg": (34, 14, 966, 1221),
    "saratoga-1900-1915.jpg": (0, 0, 880, 613),
}


@pytest.mark.parametrize(("name", "box"), OLD_PHOTOGRAPHS.items(), ids=OLD_PHOTOGRAPHS.keys())
def test_film_borders_of_old_photographs(data_root, name, box):
    gray = np.asarray(Image.open(data_root / "photos" / "oldbw" / name).convert("L"))
    found = find_borders(gray)
    if box == (0, 0, gray.shape[1], gray.shape[0]):
        assert found == box
    else:
        assert_box(found, box, gray.shape, share=0.008)


@pytest.mark.slow
def test_photographs_without_frames_are_not_cut(data_root):
    """At most one in fifty loses more than 3 % of a side (one, a coyote on a captioned mount, has a frame)."""
    files = sorted(
        file for folder in ("imagenet", "documerica") for file in (data_root / "photos" / folder).glob("*.jpg")
    )
    assert files, f"no photographs under {data_root}/photos"
    cut = []
    for file in files:
        gray = np.asarray(Image.open(file).convert("L"))
        height, width = gray.shape
        left, top, right, bottom = find_borders(gray)
        if max(left / width, top / height, 1 - right / width, 1 - bottom / height) > 0.03:
            cut.append(file.name)
    assert len(cut) <= len(files) // 50, cut
