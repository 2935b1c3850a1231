"""What is made, what is kept, and why: by content alone."""

import pytest

from modeling_chromagan.archive.decision import decide
from modeling_chromagan.archive.manifest import Output, Record

MADE = Record(
    "a.png",
    "colorized",
    "a.tif",
    input_sha256="in",
    outputs=(Output("a.png", "out"),),
    settings={"depth": "8"},
    weights="w",
)


def decided(record, there, *, now="in", settings=None, weights="w", **options):
    """The decision where outputs `there`, name -> hash, are on the disk, and the input has the hash `now`."""
    options = {"compare": False, "overwrite": False, **options}
    return decide(
        "a.png",
        record,
        input_sha256=lambda: now,
        settings={"depth": "8"} if settings is None else settings,
        weights=weights,
        is_file=there.__contains__,
        hash_of=there.__getitem__,
        **options,
    )


def test_what_is_the_same_is_kept():
    decision = decided(MADE, {"a.png": "out"})
    assert (decision.work, decision.reason) == (False, "same as before")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"now": "other"}, "its content has changed"),
        ({"settings": {}}, "settings have changed"),
        ({"weights": "other"}, "the model has changed"),
    ],
)
def test_what_changed_is_made_again_but_an_edited_result_is_kept(change, reason):
    decision = decided(MADE, {"a.png": "out"}, **change)
    assert (decision.work, decision.reason, decision.keep) == (True, reason, frozenset())
    decision = decided(MADE, {"a.png": "edited"}, **change)
    assert (decision.work, decision.reason) == (False, "was edited since it was made")
    assert decision.remark == "the result a.png was edited since it was made, and is kept"
    assert decided(MADE, {"a.png": "edited"}, overwrite=True, **change).work


def test_an_edited_result_is_found_and_a_missing_one_is_made_again():
    unchanged = decided(MADE, {"a.png": "edited"})
    assert (unchanged.reason, unchanged.remark) == ("was edited since it was made", "")
    decision = decided(MADE, {})
    assert (decision.work, decision.reason) == (True, "a.png is gone")


def test_an_input_that_was_never_recorded_is_not_read_where_its_result_is_there():
    decision = decide(
        "a.png",
        None,
        input_sha256=lambda: pytest.fail("the input was read"),
        settings={},
        weights="",
        compare=False,
        overwrite=False,
        is_file=lambda name: True,
        hash_of=lambda name: pytest.fail("the result was read"),
    )
    assert (decision.work, decision.reason) == (False, "was there before")
    assert decided(None, {}).reason == "new"


def test_a_comparison_that_is_missing_is_made_without_touching_the_result():
    for record in (None, MADE):
        decision = decided(record, {"a.png": "out"}, compare=True)
        assert (decision.work, decision.keep) == (True, {"a.png"})
    both = decided(MADE, {"a.png": "edited"}, compare=True, now="other")
    assert (both.work, both.keep) == (True, {"a.png"})
    assert both.remark == "the result a.png was edited since it was made, and is kept"


def test_a_page_in_a_file_of_its_own_is_part_of_the_result():
    pages = tuple(Output(name, "out") for name in ("a.png", "a.page-0002.png"))
    record = Record(
        "a.png", "colorized", "a.tif", input_sha256="in", outputs=pages, settings={"depth": "8"}, weights="w"
    )
    assert not decided(record, {"a.png": "out", "a.page-0002.png": "out"}).work
    assert decided(record, {"a.png": "out"}).reason == "a.page-0002.png is gone"


def test_what_was_in_the_works_is_made_again_and_what_it_kept_is_kept():
    started = Record("a.png", "started", "a.tif", kept=("a.png",), tries=1)
    decision = decided(started, {"a.png": "half known", "a.compare.png": "?"}, compare=True)
    assert (decision.work, decision.keep) == (True, {"a.png"})


def test_a_failure_is_tried_again_and_does_not_forget_what_was_made():
    assert decided(Record("a.png", "failed", "a.tif"), {}).reason == "failed before"
    failed = Record(
        "a.png", "failed", "a.tif", input_sha256="in", outputs=MADE.outputs, settings={"depth": "8"}, weights="w"
    )
    assert decided(failed, {"a.png": "out"}).work
    assert not decided(failed, {"a.png": "edited"}).work


def test_a_picture_in_color_is_left_alone_until_something_changes():
    color = Record("a.png", "already in color", "a.tif", input_sha256="in", settings={"depth": "8"}, weights="w")
    assert decided(color, {}).reason == "already in color"
    assert decided(color, {}, settings={"recolor": True}).work
