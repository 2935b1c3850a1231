"""Hostile recipes: each ends in one line that names the setting, with exit code 2, and writes nothing."""

import pytest
import yaml
from conftest import ROOT

import train
from modeling_chromagan.errors import SettingError
from modeling_chromagan.training.recipe import load_recipe
from modeling_chromagan.training.settings import set_by_path

DEBUG = ROOT / "recipes" / "debug.yaml"
OBJECTIVE = "phases.0.objective"
BATCH = "phases.0.batches.0"
ADAM = "phases.0.generator_optimizer"
SOURCE = "data.sources.pictures"


def refusal(capsys, *arguments: str) -> str:
    assert train.main([*arguments, "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("train.py: ")
    assert printed.err.count("\n") == 1
    assert len(printed.err) < 1000
    assert printed.err[:-1].isprintable()
    return printed.err


# `key=value`, and what the line must name.
HOSTILE_SETTINGS = [
    # Numbers that are none, or of another kind
    ("seed=99999999999999999999", "seed is 99999999999999999999; accepted: numbers below 2**32"),
    ("seed=-1", "seed is -1; accepted: greater than or equal to 0"),
    ("seed=.nan", "seed is nan"),
    ("seed=.inf", "seed is inf"),
    ("seed=1.5", "seed is 1.5"),
    ("seed=true", "seed is true; accepted: no truth value"),
    ("seed=null", "seed is None"),
    ("seed=", "seed is None"),
    ("seed=[1]", "seed is [1]"),
    ("seed={a: 1}", "seed is {'a': 1}"),
    ("seed=2001-01-01", "seed is"),
    ("seed=2001-99-99", "not a YAML value: month must be in 1..12"),
    ("seed=!!int x", "not a YAML value"),
    ("seed=!!timestamp x", "not a YAML value"),
    ("seed=!!bool x", "not a YAML value"),
    ("seed=!!binary ä", "not a YAML value"),
    ("seed=!!python/object/apply:os.system [id]", "not a YAML value: could not determine a constructor"),
    ("seed=*nothing", "not a YAML value: found undefined alias"),
    ("seed=[1", "not a YAML value"),
    ("seed=" + "[" * 800, "not a YAML value"),
    ("seed=" + "9" * 5000, "not a YAML value"),
    ("ema_decay=1", "ema_decay is 1; accepted: less than 1"),
    ("ema_decay=-.inf", "ema_decay is -inf"),
    ("ema_decay=.nan", "ema_decay is nan"),
    ("ema_decay=1e400", "ema_decay is"),
    ("accumulation=0", "accumulation is 0"),
    ("accumulation=3", "batch_size is 4; accepted: a multiple of accumulation, 3"),
    ("threads=0", "threads is 0"),
    ("threads=1e9", "threads"),
    ("compile=maybe", "compile is 'maybe'"),
    ("compile=2", "compile is 2"),
    ("checkpoint_every=0", "checkpoint_every is 0"),
    ("log_every=-5", "log_every is -5"),
    ("sample_every=1e-3", "sample_every is"),
    ("precision=float64", "precision is 'float64'; accepted: 'float32' or 'bfloat16'"),
    ("device=cuda", "device is 'cuda'; accepted: 'auto' or 'cpu'"),
    ("report_to=[tensorboard]", "report_to is ['tensorboard']"),
    ("non_finite=ignore", "non_finite is 'ignore'; accepted: 'stop' or 'skip'"),
    # Text
    ("name=../../etc", "name is '../../etc'; accepted: a name that a folder can have"),
    ("name=a/b", "name is 'a/b'"),
    ("name=a\\b", "name is 'a\\\\b'"),
    ("name=.", "name is '.'"),
    ("name=", "name is None"),
    ("name=''", "name is ''"),
    ("name=" + "x" * 300, "name is 'xxx"),
    ('name="a\\nb"', "name is 'a\\nb'"),
    ('name="\\e[31m"', "name is '\\x1b[31m'"),
    ('name="\\uD800"', "name is"),
    ("name=7", "name is 7"),
    ("name=[a]", "name is ['a']"),
    ('output="a\\0b"', "output is 'a\\x00b'; accepted: text without NUL"),
    ("output=[runs]", "output is ['runs']"),
    ("init_from=1", "init_from is 1"),
    ("features_model=null", "features_model is None"),
    # Sections
    ("data=null", "data is None; accepted: settings as `key: value`"),
    ("data=[]", "data is []"),
    ("data=tiny-imagenet", "data is 'tiny-imagenet'"),
    ("data={}", "data.sources is missing"),
    ("data.sources={}", "data.sources is empty; accepted: at least one source"),
    ("data.sources=[]", "data.sources is []"),
    ("data.sources.pictures=null", "data.sources.pictures is None"),
    ("data.sources.pictures=somewhere", "data.sources.pictures is 'somewhere'"),
    ("data.sources={pictures: {}}", "data.sources.pictures has neither path nor local"),
    ("data.sources={1: {path: x}}", "data.sources.1"),
    (f"{SOURCE}.min_crop=0", "min_crop is 0"),
    (f"{SOURCE}.min_crop=1.5", "min_crop is 1.5"),
    (f"{SOURCE}.max_samples=0", "max_samples is 0"),
    (f"{SOURCE}.max_samples=1e30", "max_samples is"),
    (f"{SOURCE}.path=[a, b]", "path is ['a', 'b']"),
    (f'{SOURCE}.local="\\0"', "local is '\\x00'"),
    (f"{SOURCE}.streaming=sometimes", "streaming is 'sometimes'"),
    (f"{SOURCE}.pth=x", "data.sources.pictures has no setting 'pth'; accepted: path, local"),
    ("data.validation.fraction=1", "data.validation.fraction is 1"),
    ("data.validation.samples=0", "data.validation.samples is 0"),
    ("data.validation.source=nowhere", "data.validation.source is 'nowhere'; accepted: pictures"),
    ("data.workers=100000", "data.workers is 100000"),
    ("data.min_side=-1", "data.min_side is -1"),
    ("teacher=vgg16", "teacher is 'vgg16'"),
    ("teacher={kind: auto}", "teacher has no model"),
    ("teacher.kind=oracle", "teacher.kind is 'oracle'"),
    ("teacher.input=cmyk", "teacher.input is 'cmyk'"),
    ("no.such.place=1", "has no setting 'no'; accepted: name, seed"),
    ("=1", "'=1' is no setting; accepted: key=value"),
    ("steps", "'steps' is no setting; accepted: key=value"),
    ("seed.x=1", "seed is {'x': 1}"),
    ("name.x.y=1", "name.x.y: name is a single value and has no 'x'"),
    ("phases.-1.steps=1", "phases.-1.steps: '-1' is no place in this list; accepted: 0 to 1"),
    ("phases.².steps=1", "is no place in this list"),
    ("phases.first.steps=1", "phases.first.steps: 'first' is no place in this list"),
    ("phases.2.steps=1", "phases.2.steps: '2' is no place"),
    ("phases.99999999999999999999.steps=1", "is no place in this list"),
    # Phases and batches
    ("phases=[]", "phases is []"),
    ("phases=null", "phases is None"),
    ("phases={a: 1}", "phases is {'a': 1}"),
    ("phases=[null]", "phases.0 is None"),
    ("phases=[[]]", "phases.0 is []"),
    ("phases=&a [*a]", "phases.0 is"),
    ("phases.0=&a {name: *a}", "phases.0.name is"),
    ("phases.1.name=color", "phases.1.name is 'color' again"),
    ("phases.0.name=a/b", "phases.0.name is 'a/b'"),
    ("phases.0.name=null", "phases.0.name is None"),
    ("phases.0.steps=0", "phases.0.steps is 0"),
    ("phases.0.steps=1e30", "phases.0.steps is"),
    ("phases.0.steps=4294967296", "phases.0.steps is 4294967296; accepted: numbers below 2**32"),
    ("phases.0.steps=true", "phases.0.steps is true"),
    ("phases.0.steps=null", "phases.0 has neither steps nor epochs"),
    ("phases.0.epochs=.inf", "phases.0.epochs is inf"),
    ("phases.0.epochs=-1", "phases.0.epochs is -1"),
    ("phases.0.fixed_batch_norm=never", "phases.0.fixed_batch_norm is 'never'"),
    ("phases.0.batches=[]", "phases.0.batches is []"),
    ("phases.0.batches={size: 32}", "phases.0.batches is {'size': 32}"),
    (f"{BATCH}.size=0", "size is 0; accepted: pixels a side, or [height, width]"),
    (f"{BATCH}.size=-32", "size is -32"),
    (f"{BATCH}.size=1e9", "size is"),
    (f"{BATCH}.size=1000000", "size is 1000000"),
    (f"{BATCH}.size=[32]", "size is [32]"),
    (f"{BATCH}.size=[]", "size is []"),
    (f"{BATCH}.size=[32, null]", "size is [32, None]"),
    (f"{BATCH}.size=true", "size is True"),
    (f"{BATCH}.batch_size=0", "batch_size is 0"),
    (f"{BATCH}.batch_size=.nan", "batch_size is nan"),
    (f"{BATCH}.weights={{}}", "phases.0.batches.0.weights adds up to 0"),
    (f"{BATCH}.weights={{pictures: 0}}", "phases.0.batches.0.weights adds up to 0"),
    (f"{BATCH}.weights={{pictures: -1}}", "weights.pictures is -1"),
    (f"{BATCH}.weights={{pictures: .nan}}", "weights.pictures is nan"),
    (f"{BATCH}.weights={{others: 1}}", "phases.0.batches.0.weights names 'others'; accepted: pictures"),
    (f"{BATCH}.weights=[1]", "weights is [1]"),
    (f"{BATCH}.degradation={{gamma: 2}}", "degradation.gamma is 2"),
    (f"{BATCH}.degradation={{gamma_exponents: [0, 1]}}", "gamma_exponents.0 is 0"),
    (f"{BATCH}.degradation={{gamma_exponents: 1}}", "gamma_exponents is 1"),
    # Optimizers and objectives
    (f"{ADAM}.betas=[2, 3]", "phases.0.generator_optimizer.betas.0 is 2; accepted: less than 1"),
    (f"{ADAM}.betas=[0.9]", "betas"),
    (f"{ADAM}.betas=[0.9, .nan]", "betas.1 is nan"),
    (f"{ADAM}.betas=[0.9, 1]", "betas.1 is 1"),
    (f"{ADAM}.betas=0.9", "betas is 0.9"),
    (f"{ADAM}.learning_rate=0", "learning_rate is 0"),
    (f"{ADAM}.learning_rate=.inf", "learning_rate is inf"),
    (f"{ADAM}.learning_rate=fast", "learning_rate is 'fast'"),
    (f"{ADAM}.weight_decay=-1", "weight_decay is -1"),
    (f"{ADAM}.clip_norm=0", "clip_norm is 0"),
    (f"{ADAM}.name=sgd", "name is 'sgd'; accepted: 'adam' or 'adamw'"),
    (f"{ADAM}.schedule=step", "schedule is 'step'"),
    (f"{ADAM}.warmup_steps=-1", "warmup_steps is -1"),
    (f"{OBJECTIVE}.weights=1", "phases.0.objective.weights is 1"),
    (f"{OBJECTIVE}.weights=null", "phases.0.objective.weights is None"),
    (f"{OBJECTIVE}.weights={{1: 1}}", "phases.0.objective.weights has no term 1"),
    (f"{OBJECTIVE}.weights.color=.nan", "phases.0.objective.weights.color is nan"),
    (f"{OBJECTIVE}.weights.color=[1]", "phases.0.objective.weights.color is [1]"),
    (f"{OBJECTIVE}.weights.color=" + "9" * 400, "phases.0.objective.weights"),
    (f"{OBJECTIVE}.weights.color=0", "phases.0.objective.weights leads nowhere; accepted: color or"),
    (f"{OBJECTIVE}.weights.class=1", "phases.0.objective.weights.class is 1; accepted with teacher.kind none: 0"),
    (f"{OBJECTIVE}.weights.bins=1", "phases.0.objective.weights.bins is 1; accepted with chromagan"),
    (f"{OBJECTIVE}.color_loss=null", "phases.0.objective.color_loss is None"),
    (f"{OBJECTIVE}.color_loss=[mse]", "phases.0.objective.color_loss is ['mse']"),
    (f"{OBJECTIVE}.huber_delta=0", "phases.0.objective.huber_delta is 0"),
    (f"{OBJECTIVE}.penalty_reduction=max", "phases.0.objective.penalty_reduction is 'max'"),
    # The model
    ("model=null", "model is None"),
    ("model=[]", "model is []"),
    ("model.architecture=null", "model.architecture is None"),
    ("model.architecture=[chromagan]", "model.architecture is ['chromagan']"),
    ("model.depth=3", "model.depth"),
    ("model.image_size=large", "image_size"),
    ("model.image_size=33", "image_size is 33"),
    ("model.image_size=-32", "image_size is -32"),
    ("model.image_size=&a [*a]", "model.image_size is"),
    ("model.image_size={a: 1}", "model.image_size is {'a': 1}"),
    ("model.width_multiplier=.nan", "width_multiplier is nan"),
    ("model.width_multiplier=1e9", "width_multiplier"),
    ("model.num_labels=0", "model.num_labels is 0"),
    ("model.num_labels=99999999999", "model.num_labels is 99999999999"),
    ("model.num_labels=two", "model.num_labels is 'two'"),
    ("model.class_hidden_sizes=[0]", "class_hidden_sizes is [0]"),
    ("model.global_hidden_sizes=[]", "global_hidden_sizes is []"),
    ("model.global_hidden_sizes=[a]", "global_hidden_sizes"),
    ("model.encoding=lab", "encoding is 'lab'"),
    ("model.critic=stylegan", "critic is 'stylegan'"),
]


@pytest.mark.parametrize(("setting", "named"), HOSTILE_SETTINGS, ids=[each[:60] for each, _ in HOSTILE_SETTINGS])
def test_hostile_setting_is_one_line(setting, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named in refusal(capsys, str(DEBUG), setting)
    assert list(tmp_path.iterdir()) == []


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE_FILES = {
    "nothing": (b"", "holds NoneType; accepted: settings as `key: value`"),
    "a list": (b"- 1\n", "holds list"),
    "a text": (b"hello\n", "holds str"),
    "two documents": (b"name: a\n---\nname: b\n", "not YAML"),
    "a tab": (b"name:\n\t- a\n", "not YAML"),
    "zeros": (bytes(100), "not YAML"),
    "bytes of a picture": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "not YAML"),
    "UTF-16": ("name: a".encode("utf-16"), "not YAML"),
    "a number for a key": (b"1: 2\n", "has no setting 1"),
    "a list for a key": (b"? [a, b]\n: 1\n", "not YAML"),
    "a line break in a key": (b'"a\\nb": 1\n', "has no setting 'a\\nb'"),
    "a color code in a key": (b'data: {sources: {"\\e[31m": {path: 1}}}\n', "data.sources.\\x1b[31m.path is 1"),
    "a key twice": (DEBUG.read_bytes() + b"phases: []\n", "the key 'phases' stands twice"),
    "a section of itself": (b"data: &a {sources: *a}\n", "data.sources"),
    "a billion words": (BOMB.encode() + DEBUG.read_bytes(), "has no setting 'a'"),
    "a billion words for a number": (
        f"data: {{sources: {{}}, validation: {{samples: {BOMB}}}}}".encode(),
        "not YAML",
    ),
    "no data": (b"name: a\n", "data is missing"),
    "a pickle": (b"!!python/object/apply:os.system ['touch pwned']\n", "could not determine a constructor"),
}


@pytest.mark.parametrize("case", HOSTILE_FILES)
def test_hostile_file_is_one_line(case, capsys, tmp_path, monkeypatch):
    content, named = HOSTILE_FILES[case]
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    message = refusal(capsys, str(path))
    assert named in message
    assert str(path) in message
    assert list(tmp_path.iterdir()) == [path]


def test_a_billion_words_in_the_place_of_a_number_are_shown_shortened(capsys, tmp_path):
    path = tmp_path / "recipe.yaml"
    tree = yaml.safe_load(DEBUG.read_text(encoding="utf-8"))
    words = ["x"] * 9
    for _ in range(9):
        words = [words] * 9
    for place in ("model.image_size", "phases.0.objective.weights.color", "seed", "name"):
        set_by_path(tree, place, words)
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        assert f"{place} is [" in refusal(capsys, str(path))
        tree = yaml.safe_load(DEBUG.read_text(encoding="utf-8"))


def test_paths_that_are_no_files(capsys, tmp_path):
    assert f"{tmp_path}: Is a directory" in refusal(capsys, str(tmp_path))
    assert "nothing.yaml: No such file" in refusal(capsys, str(tmp_path / "nothing.yaml"))
    assert "a\\x00.yaml: not YAML: embedded null byte" in refusal(capsys, "a\0.yaml")


def test_names_of_any_script_are_accepted():
    recipe = load_recipe(DEBUG, ["name=Übung 上色 (2)", "phases.0.name=erste Phase"])
    assert (recipe.name, recipe.phases[0].name) == ("Übung 上色 (2)", "erste Phase")


def test_a_setting_changes_in_its_place_and_not_where_an_alias_repeats_it():
    path = DEBUG.with_name("chromagan_lite.yaml")
    recipe = load_recipe(path, ["phases.0.objective.weights.class=0", "phases.0.batches.0.batch_size=2"])
    assert [phase.objective.weights["class"] for phase in recipe.phases] == [0, 0.15, 0.15]
    assert [phase.batches[0].batch_size for phase in recipe.phases] == [2, 128, 128]


def test_set_by_path_makes_sections_on_the_way():
    tree = {"a": [{"b": 1}]}
    set_by_path(tree, "a.0.c.d", 2)
    assert tree == {"a": [{"b": 1, "c": {"d": 2}}]}
    with pytest.raises(SettingError, match=r"^a\.b: 'b' is no place in this list; accepted: 0 to 0$"):
        set_by_path(tree, "a.b", 2)
