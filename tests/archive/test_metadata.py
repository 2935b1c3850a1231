"""What a file says besides its pixels."""

from fractions import Fraction

import pytest

from modeling_chromagan.archive.metadata import Metadata, Resolution, select


def test_a_file_that_says_nothing_has_equal_metadata():
    assert Metadata() == Metadata()
    assert Metadata(iptc=b"\x1c") != Metadata()


def test_what_is_kept_by_choice():
    whole = Metadata(Resolution(Fraction(300), Fraction(300), "inch"), b"exif", b"iptc", b"xmp", (), (b"comment",))
    assert select(whole, "keep") is whole
    assert select(whole, "minimal") == Metadata(whole.resolution)
    assert select(whole, "none") == Metadata()
    with pytest.raises(ValueError, match="keep, minimal, none"):
        select(whole, "some")
