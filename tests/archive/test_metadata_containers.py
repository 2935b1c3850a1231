"""Chunks, boxes and blocks that hold metadata."""

import io
import struct
import zlib

import described_pictures as made
import pytest

from modeling_chromagan.archive.metadata_containers import (
    boxes,
    chunks,
    gif_extensions,
    inflate,
    photoshop_resource,
    readable_png,
    wrapped_resource,
)


def test_only_chunks_that_say_something_are_read_and_damaged_ones_are_empty():
    data = made.png((b"tEXt", b"Title\0street"), (b"vpAg", b"private"))
    assert list(chunks(io.BytesIO(data))) == [(b"tEXt", b"Title\0street")]
    damaged = data.replace(b"street", b"strxxt")
    assert list(chunks(io.BytesIO(damaged))) == [(b"tEXt", b"")]
    assert list(chunks(io.BytesIO(data[:50]))) == [(b"tEXt", b"")]


def test_a_chunk_that_claims_too_much_is_not_read():
    huge = made.png()[:33] + struct.pack(">I4s", 1 << 30, b"tEXt")
    assert list(chunks(io.BytesIO(huge))) == [(b"tEXt", b"")]


def test_parts_beyond_the_limit_are_empty_and_what_follows_them_is_read(monkeypatch):
    monkeypatch.setattr("modeling_chromagan.archive.metadata_containers.LARGEST", 20)
    data = made.png((b"tEXt", b"Title\0" + b"long " * 9), (b"tEXt", b"Title\0short"))
    assert list(chunks(io.BytesIO(data))) == [(b"tEXt", b""), (b"tEXt", b"Title\0short")]
    data = made.box(b"xml ", b"long " * 9) + made.box(b"xml ", b"short")
    assert list(boxes(io.BytesIO(data))) == [(b"xml ", b""), (b"xml ", b"short")]


def test_bombs_do_not_go_off():
    assert inflate(zlib.compress(b"text")) == b"text"
    for data in (zlib.compress(bytes(17 << 20)), zlib.compress(b"text")[:-6], b"nonsense"):
        with pytest.raises(ValueError, match=r".+"):
            inflate(data)


def test_a_png_is_readable_whatever_its_text_is():
    damaged = made.png((b"tEXt", b"Title\0street"), (b"tEXt", b"Box\0x7")).replace(b"street", b"strxxt")
    long = made.png((b"zTXt", b"Title\0\0" + zlib.compress(bytes(2 << 20))), (b"iTXt", b"Box\0\0\0\0\0x7"))
    bomb = made.png((b"iTXt", b"Title\0\1\0\0\0" + zlib.compress(bytes(20 << 20))), (b"tEXt", b"Box\0x7"), behind=True)
    for data in (damaged, long, bomb):
        with pytest.raises((SyntaxError, ValueError, OSError)):
            made.opened(data).load()
        readable = made.opened(readable_png(data))
        assert readable.tobytes() == made.gray().tobytes()
        assert readable.text == {"Box": "x7"}


def test_a_file_that_pillow_reads_is_the_same_object():
    for data in (
        made.png((b"tEXt", b"Title\0street"), (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"b"))),
        made.jpeg(),
        b"",
    ):
        assert readable_png(data) is data


def test_boxes_of_all_three_kinds_of_length():
    long = struct.pack(">I4sQ", 1, b"xml ", 16 + 5) + b"<one>"
    last = struct.pack(">I4s", 0, b"uuid") + b"to the end"
    header = made.box(b"jp2h", made.box(b"ihdr", bytes(14)) + made.box(b"res ", b"inside"))
    found = list(boxes(io.BytesIO(header + long + last)))
    assert found == [(b"res ", b"inside"), (b"xml ", b"<one>"), (b"uuid", b"to the end")]
    assert list(boxes(io.BytesIO(struct.pack(">I4s", 4, b"xml ") + bytes(99)))) == []


def test_xmp_behind_many_frames_of_a_gif_is_found():
    comment = b"!\xfe" + b"\x05first" + b"\x06second" + b"\0"
    loop = b"!\xff\x0bNETSCAPE2.0\x03\1\0\0\0"
    data = made.gif(loop, comment)
    data = data[:-1] + made.gif_xmp(made.XMP) + data[-1:]
    assert list(gif_extensions(io.BytesIO(data))) == [(b"comment", b"firstsecond"), (b"XMP DataXMP", made.XMP)]


def test_resources_of_photoshop_are_found_by_number():
    named = b"8BIM\x04\x0b\x03url\0\0\0\x03abc\0"
    data = named + wrapped_resource(0x0404, b"odd") + wrapped_resource(0x0425, b"x")
    assert photoshop_resource(data, 0x0404) == b"odd"
    assert photoshop_resource(data, 0x0425) == b"x"
    assert photoshop_resource(data, 0x0999) == b""
    assert photoshop_resource(data[:-9], 0x0425) == b""
