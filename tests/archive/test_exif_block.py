"""EXIF tags, every value as its bytes."""

import io
import struct
from fractions import Fraction

import described_pictures as made
import pytest
from PIL import Image

from modeling_chromagan.archive.exif_block import ExifBlock, Tag, parse_exif, read_block, tag_text, text_tag


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_block_that_is_packed_says_the_same_to_other_readers(order):
    original = made.exif(order)
    before, after = Image.Exif(), Image.Exif()
    before.load(original)
    after.load(parse_exif(original).pack())
    assert dict(after) == {number: after[number] for number in before}
    for folder in (0x8769, 0x8825):
        assert after.get_ifd(folder) == before.get_ifd(folder) != {}


def test_packing_again_changes_nothing():
    block = parse_exif(made.exif())
    assert parse_exif(block.pack()).pack() == block.pack()


def test_no_tags_are_no_bytes():
    assert ExifBlock().pack() == b""
    assert parse_exif(b"II*\0\x08\0\0\0\0\0\0\0\0\0").pack() == b""  # as programs write that have nothing to say


@pytest.mark.parametrize("offset", [30, 200, 900])
def test_a_maker_note_stays_where_its_own_offsets_are_right(offset):
    note = b"Maker\0\0\0" + bytes(range(60))
    block = parse_exif(made.exif())
    block.exif[0x927C], block.note_offset = Tag(7, len(note), note), offset
    packed = block.pack()
    assert packed[offset : offset + len(note)] == note
    again = parse_exif(packed)
    assert again.note_offset == offset
    again.image[270] = text_tag("a much longer description " * 20)
    packed = again.pack()
    assert packed[offset : offset + len(note)] == note
    assert tag_text(parse_exif(packed).image[270]).startswith("a much longer")


def test_a_maker_note_that_cannot_be_there_takes_nothing_with_it():
    block = parse_exif(made.exif())
    block.exif[0x927C], block.note_offset = Tag(7, 68, bytes(68)), 900
    packed = block.pack().replace(struct.pack("<HHII", 0x927C, 7, 68, 900), struct.pack("<HHII", 0x927C, 7, 68, 2))
    again = parse_exif(packed)
    assert again.damaged
    assert 0x927C not in again.exif
    assert tag_text(parse_exif(again.pack()).image[270]) == "Main street, 1905"


def test_notes_that_count_from_their_own_start_may_move():
    block = ExifBlock(exif={0x927C: Tag(7, 12, b"Nikon\0\2" + bytes(5))})
    assert parse_exif(block.pack()).note_offset is None


def test_values_of_big_tiffs_become_those_of_exif():
    entries = [
        struct.pack("<HHQ8s", 270, 2, 4, b"abc\0"),
        struct.pack("<HHQQ", 65000, 16, 1, 77),
        struct.pack("<HHQQ", 65001, 16, 1, 1 << 40),
    ]
    file = b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + struct.pack("<Q", len(entries)) + b"".join(entries) + bytes(8)
    block = read_block(io.BytesIO(file), 16, ())
    assert block.image == {270: Tag(2, 4, b"abc\0"), 65000: Tag(4, 1, b"M\0\0\0")}
    assert block.damaged  # a number that EXIF cannot say


def test_the_order_of_bytes_is_turned_with_every_number_in_it():
    little = parse_exif(made.exif("<"))
    comment = "Straße".encode("utf-16-le")
    little.exif[0x9286] = Tag(7, 8 + len(comment), b"UNICODE\0" + comment)
    big = little.in_order(">")
    assert big.pack()[:2] == b"MM"
    assert big.numbers(big.exif[0x829A]) == [Fraction(1, 125)]
    assert big.exif[0x9286].value[8:].decode("utf-16-be") == "Straße"
    assert big.in_order("<") == little


@pytest.mark.parametrize("number", [Fraction(300), Fraction("299.9994"), Fraction(1, 3), Fraction(2**40, 2**33 + 1)])
def test_resolutions_are_as_exact_as_32_bits_allow(number):
    block = ExifBlock(">")
    assert float(block.numbers(block.rational(number))[0]) == pytest.approx(float(number), rel=1e-9)


def test_what_cannot_be_read_is_told_apart_from_what_can():
    whole = made.exif()
    with pytest.raises(ValueError, match="not a TIFF block"):
        parse_exif(b"GIF89a")
    with pytest.raises(ValueError, match="no readable folder"):
        parse_exif(whole[:9])
    cut = parse_exif(whole[:-20])
    assert cut.damaged
    assert tag_text(cut.image[270]) == "Main street, 1905"


@pytest.mark.parametrize("pointer", [0x8769, 0x8825])
def test_a_folder_that_stands_in_itself_is_not_written_again(pointer):
    tags = struct.pack("<HHII", 259, 3, 1, 1) + struct.pack("<HHII", pointer, 4, 1, 8)
    block = parse_exif(struct.pack("<2sHIH", b"II", 42, 8, 2) + tags + bytes(4))
    assert block.damaged
    assert (set(block.image), block.exif, block.gps) == ({259}, {}, {})


def test_pointers_are_not_taken_over_with_the_folder_that_they_stand_in():
    block = ExifBlock()
    block.exif = {0x8769: block.long(8), 0x8825: block.long(8), 0xA002: block.long(80)}
    assert set(parse_exif(block.pack()).exif) == {0xA002}


def test_values_that_many_tags_share_do_not_fill_the_memory():
    shared = bytes(1 << 20)
    entries = b"".join(struct.pack("<HHII", 40000 + n, 7, len(shared), 8 + 2 + 12 * 200 + 4) for n in range(200))
    block = parse_exif(b"II*\0" + struct.pack("<IH", 8, 200) + entries + bytes(4) + shared)
    assert block.damaged
    assert sum(len(tag.value) for tag in block.image.values()) <= 64 << 20
