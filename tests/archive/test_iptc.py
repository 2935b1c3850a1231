"""IPTC records, and their places in XMP."""

import described_pictures as made
import pytest

from modeling_chromagan.archive.iptc import add_to_packet, iptc_records
from modeling_chromagan.archive.xmp import Packet


def test_every_core_field_has_its_place_in_xmp():
    fields = {
        5: ("dc:title", "Main street"),
        40: ("photoshop:Instructions", "handle with care"),
        80: ("dc:creator", "A. Photographer"),
        85: ("photoshop:AuthorsPosition", "staff"),
        90: ("photoshop:City", "Köln"),
        92: ("Iptc4xmpCore:Location", "Old town"),
        95: ("photoshop:State", "Rhineland"),
        100: ("Iptc4xmpCore:CountryCode", "DEU"),
        101: ("photoshop:Country", "Germany"),
        103: ("photoshop:TransmissionReference", "4711"),
        105: ("photoshop:Headline", "Market day"),
        110: ("photoshop:Credit", "City archive"),
        115: ("photoshop:Source", "Box 7"),
        116: ("dc:rights", "Public domain"),
        120: ("dc:description", "Horses & carts"),
        122: ("photoshop:CaptionWriter", "XY"),
    }
    packet = Packet()
    data = made.iptc(*((number, text.encode()) for number, (_, text) in fields.items()))
    assert add_to_packet(data, packet) == 0
    written = Packet(packet.pack())
    assert {number: (name, *written.values(name)) for number, (name, _) in fields.items()} == fields


def test_values_that_are_written_otherwise_in_xmp():
    packet = Packet()
    data = made.iptc(
        (4, b"001:Current"),
        (12, b"IPTC:01000000::a:"),
        (25, b"one"),
        (25, b"two"),
        (55, b"19050704"),
        (60, b"120000+0100"),
    )
    assert add_to_packet(data, packet) == 0
    assert packet.values("Iptc4xmpCore:IntellectualGenre") == ["Current"]
    assert packet.values("Iptc4xmpCore:SubjectCode") == ["01000000"]
    assert packet.values("dc:subject") == ["one", "two"]
    assert packet.values("photoshop:DateCreated") == ["1905-07-04T12:00:00+01:00"]


@pytest.mark.parametrize(
    ("stored", "meant"), [(b"19050000", "1905"), (b"19050700", "1905-07"), (b"19050704", "1905-07-04"), (b"?", "?")]
)
def test_dates_of_which_less_is_known(stored, meant):
    packet = Packet()
    add_to_packet(made.iptc((55, stored)), packet)
    assert packet.values("photoshop:DateCreated") == [meant]


def test_letters_are_read_whether_the_records_name_their_alphabet_or_not():
    for data in (
        made.iptc((90, "Köln".encode())),
        made.iptc((90, "Köln".encode()), utf_8=False),
        made.iptc((90, "Köln".encode("latin-1")), utf_8=False),
    ):
        packet = Packet()
        add_to_packet(data, packet)
        assert packet.values("photoshop:City") == ["Köln"]


def test_fields_without_a_place_and_those_that_xmp_says_otherwise_are_counted():
    packet = Packet()
    packet.put("photoshop:City", ["Bonn"])
    packet.put("dc:subject", ["one"], "Bag")
    data = made.iptc((7, b"status"), (118, b"contact"), (90, b"Koeln"), (25, b"one"))
    assert add_to_packet(data, packet) == 3
    assert packet.values("photoshop:City") == ["Bonn"]


def test_long_data_sets_are_read():
    long = b"\x1c\2\x78\x80\4\0\1\0\0" + b"x" * 65536
    assert iptc_records(long + bytes(3)) == long
    packet = Packet()
    assert add_to_packet(long, packet) == 0
    assert packet.values("dc:description") == ["x" * 65536]


@pytest.mark.parametrize("data", [b"nonsense", made.iptc((120, b"caption"))[:-1], b"\x1c\2\x78\x80\4\xff\xff\xff\xff"])
def test_damage_is_an_error(data):
    with pytest.raises(ValueError, match=r"IPTC|too early"):
        iptc_records(data)
