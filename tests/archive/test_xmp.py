"""XMP packets: what is changed, and that nothing else is."""

import xml.etree.ElementTree as ElementTree

import pytest
from described_pictures import XMP

from modeling_chromagan.archive.xmp import NAMESPACES, Packet, joined, split, structure

WRAPPED = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><!-- kept -->'
    "<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk=\"a>b\">"
    '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description r:about="uuid:1" '
    'xmlns:d="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" '
    "tiff:Make='X &amp; &quot;Y&quot;&#10;Z'>"
    '<d:title><r:Alt><r:li xml:lang="x-default">Häuser</r:li><r:li xml:lang="en">Houses</r:li></r:Alt></d:title>'
    "<d:source>  two  spaces  </d:source></r:Description></r:RDF></x:xmpmeta>" + " " * 2000 + '<?xpacket end="r"?>'
)
EMPTY = (
    b"",
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"> </x:xmpmeta>',
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>',
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>',
)


def parsed(packet: bytes) -> ElementTree.Element:
    """By an XML parser that knows nothing of ours; one RDF in it, as XMP wants."""
    root = ElementTree.fromstring(packet)
    tag = f"{{{NAMESPACES['rdf']}}}RDF"
    assert root.tag == tag or [child.tag for child in root] == [tag]
    return root


@pytest.mark.parametrize("source", EMPTY)
def test_properties_come_into_any_empty_packet(source):
    packet = Packet(source)
    packet.put("dc:title", ["Gärten & <Häuser>\0"], "Alt")
    packet.put("dc:subject", ["a", "b"], "Bag")
    packet.add(structure("xmpMM:DerivedFrom", {"stRef:filePath": "a.jpg"}))
    out = packet.pack()
    texts = "".join(parsed(out).itertext())
    assert texts.strip() == "Gärten & <Häuser>\ufffdaba.jpg"
    assert Packet(out).values("dc:subject") == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_everything_else_stays_as_it_stands(encoding):
    packet = Packet(WRAPPED.encode(encoding) + b"\0\0\0\0")
    assert packet.values("dc:title") == ["Häuser", "Houses"]
    assert packet.values("tiff:Make") == ['X & "Y"\nZ']
    packet.remove("tiff:Orientation", "xmp:Label")
    packet.put("dc:relation", ["a"], "Bag")
    out = packet.pack().decode()
    parsed(out.encode())
    for kept in (
        "<!-- kept -->",
        'x:xmptk="a>b"',
        "tiff:Make='X &amp; &quot;Y&quot;&#10;Z'>",
        "<d:source>  two  spaces  </d:source>",
        '<r:li xml:lang="en">Houses</r:li>',
    ):
        assert kept in out
    assert "Orientation" not in out
    assert out.count('about="uuid:1"') == 2  # all descriptions are about the same thing
    assert out.endswith('<?xpacket end="w"?>')


def test_an_unchanged_packet_is_the_same_bytes():
    for data in (XMP, WRAPPED.encode("utf-16"), *EMPTY):
        assert Packet(data).pack() == data


def test_a_packet_whose_first_character_is_lost_is_read():
    packet = Packet(WRAPPED.encode()[1:])
    assert packet.values("dc:title") == ["Häuser", "Houses"]
    packet.put("dc:format", ["image/png"])
    assert parsed(packet.pack()) is not None


def test_properties_of_structures_are_not_taken_for_those_of_the_picture():
    inner = structure("xmpMM:DerivedFrom", {"dc:title": "of another"})
    packet = Packet()
    packet.add(inner)
    again = Packet(packet.pack())
    assert again.values("dc:title") == []
    again.remove("xmpMM:DerivedFrom")
    assert b"of another" not in again.pack()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b'<!DOCTYPE a [<!ENTITY b "c">]><x:xmpmeta xmlns:x="adobe:ns:meta/"/>', "document type"),
        (b"<a/>", "no XMP"),
        (XMP[:-9], "no element found|unclosed"),
        (b"\xff\xfe<", "truncated"),
        (b"\xff", "decode"),
        (b"<a>" * 5000, "no XMP|deep"),
        (b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b"<a>" * 5000, "deep"),
        (XMP + b" " * (17 << 20), "large"),
    ],
)
def test_what_is_no_packet_is_refused(source, reason):
    with pytest.raises(ValueError, match=reason):
        Packet(source)


def test_a_packet_of_spaces_takes_no_time():
    packet = Packet(XMP.replace(b"Box 7", b" " * 1_000_000))
    assert packet.values("xmp:CreatorTool") == ["A scanner"]


def large_packet() -> bytes:
    packet = Packet(WRAPPED.encode())
    packet.put("chromagan:Settings", ["y" * 70_000])
    packet.put("xmp:Label", ["short"])
    return packet.pack()


def test_a_large_packet_is_split_for_jpeg_and_joined_again():
    packet = large_packet()
    standard, extended = split(packet, 65_502)
    assert len(standard) <= 65_502
    parsed(standard), parsed(extended)
    assert Packet(standard).values("xmp:Label") == ["short"]
    assert Packet(standard).values("dc:title") == ["Häuser", "Houses"]
    assert Packet(standard).values("chromagan:Settings") == []
    whole = joined(standard, extended)
    parsed(whole)
    for name in ("dc:title", "dc:source", "tiff:Make", "xmp:Label", "chromagan:Settings"):
        assert Packet(whole).values(name) == Packet(packet).values(name) != []
    assert Packet(whole).values("xmpNote:HasExtendedXMP") == []


def test_a_small_packet_is_not_split():
    assert split(XMP, 65_502) == (XMP, b"")


def test_what_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="too many"):
        split(XMP.replace(b"A scanner", b"A scanner" * 8000), 65_502)
