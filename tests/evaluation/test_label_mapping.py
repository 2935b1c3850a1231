"""Which class of a head, or of ImageNet-1k, a label means."""

from small_evaluation import CLASS_NAMES, tiny_config

from modeling_chromagan.evaluation.label_mapping import imagenet_labels, match_classes
from modeling_chromagan.sources.imagenet_classes import read_classes


def test_classes_are_matched_by_name():
    mapping, said = match_classes(tiny_config(), CLASS_NAMES)
    assert mapping.tolist() == [0, 1, 2]
    assert said == "among the 3 classes of the data set"
    mapping, said = match_classes(tiny_config(id2label=None, num_labels=1000), CLASS_NAMES)
    assert mapping.tolist() == [1, 25, 30]
    assert said == "ImageNet-1k's, choosing among the 3 of the data set"
    # Without names the order has to be taken on trust; with other names it is known to be wrong.
    assert match_classes(tiny_config(id2label=None, num_labels=3), CLASS_NAMES)[0].tolist() == [0, 1, 2]
    mapping, said = match_classes(tiny_config(), CLASS_NAMES[::-1])
    assert mapping is None
    assert said == "its 3 classes are not the 3 labels of the data set"
    assert match_classes(tiny_config(class_head=False), CLASS_NAMES)[0] is None
    assert match_classes(tiny_config(), None)[0] is None


def test_labels_of_imagenet_are_known_by_id_and_in_words():
    assert imagenet_labels(CLASS_NAMES).tolist() == [1, 25, 30]
    assert imagenet_labels(["cat", "dog"]) is None
    classes = read_classes("imagenet_classes.csv")
    names = [row["name"] for row in classes]
    assert imagenet_labels([row["wnid"] for row in classes]).tolist() == list(range(1000))
    assert imagenet_labels(["great white shark", "tench"]).tolist() == [2, 0]
    in_words = [f"{name}, and more" if number % 3 else "something else" for number, name in enumerate(names)]
    assert imagenet_labels(in_words).tolist() == list(range(1000))
    assert imagenet_labels(in_words[::-1]) is None
