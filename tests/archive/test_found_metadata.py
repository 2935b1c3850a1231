"""What is true of a picture that was turned upright and colored."""

from fractions import Fraction

import described_pictures as made

from modeling_chromagan.archive.exif_block import parse_exif, text_tag
from modeling_chromagan.archive.found_metadata import FoundMetadata
from modeling_chromagan.archive.metadata import Resolution


def test_nothing_found_is_nothing_said():
    metadata = FoundMetadata().metadata(turned=True)
    assert (metadata.exif, metadata.xmp, metadata.notes) == (b"", b"", ())


def test_a_part_that_fails_leaves_the_others():
    found = FoundMetadata()
    found.read_exif(made.exif())
    found.attempt("IPTC", lambda: 1 / 0)
    metadata = found.metadata(turned=True)
    assert metadata.exif
    assert metadata.notes == ("its IPTC cannot be read and is left out (it is damaged)",)


def test_pixels_that_were_not_turned_keep_their_resolution():
    for turned, expected in ((True, (98, 204)), (False, (204, 98))):
        found = FoundMetadata()
        found.read_exif(made.exif(orientation=8, resolution=(204, 98)))
        metadata = found.metadata(turned=turned)
        assert (metadata.resolution.x, metadata.resolution.y) == expected


def test_the_resolution_of_xmp_is_the_last_resort():
    said = b'xmlns:t="http://ns.adobe.com/tiff/1.0/" t:XResolution="600/2" t:YResolution="300/1" t:ResolutionUnit="2" '
    found = FoundMetadata()
    found.xmp = made.XMP.replace(b"xmp:CreatorTool", said + b"xmp:CreatorTool")
    metadata = found.metadata(turned=True)
    assert metadata.resolution == Resolution(Fraction(300), Fraction(300), "inch")
    assert b"XResolution" not in metadata.xmp


def test_tags_about_stored_pixels_go_out():
    block = parse_exif(made.exif())
    block.image |= {259: block.short(1), 50706: block.long(1), 269: text_tag("Box 7")}
    found = FoundMetadata()
    found.read_exif(block.pack())
    kept = parse_exif(found.metadata(turned=True).exif).image
    assert 269 in kept
    assert not {259, 50706} & set(kept)
