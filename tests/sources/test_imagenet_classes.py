"""ImageNet's classes have names that tell them apart, Tiny ImageNet's are among them."""

from modeling_chromagan.sources.imagenet_classes import imagenet_class_names, read_classes


def test_the_tables_agree():
    names = imagenet_class_names()
    mapping = [int(row["imagenet1k_label"]) for row in read_classes("tiny_imagenet_classes.csv")]
    assert (len(names), len(set(names))) == (1000, 1000)  # equal names would collide in label2id
    assert (names[0], names[134], names[517], names[999]) == (
        "tench",
        "crane (bird)",
        "crane (machine)",
        "toilet tissue",
    )
    assert (len(mapping), len(set(mapping))) == (200, 200)
    assert all(0 <= label < 1000 for label in mapping)
    assert names[mapping[0]] == "goldfish"
    ids = {row["wnid"]: int(row["label"]) for row in read_classes("imagenet_classes.csv")}
    assert [ids[row["wnid"]] for row in read_classes("tiny_imagenet_classes.csv")] == mapping
