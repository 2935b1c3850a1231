"""What a file says besides its pixels."""

from modeling_chromagan.archive.metadata import Metadata


def test_a_file_that_says_nothing_has_equal_metadata():
    assert Metadata() == Metadata()
    assert Metadata(iptc=b"\x1c") != Metadata()
