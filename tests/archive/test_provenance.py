"""What a result says about how its colors were made."""

import xml.etree.ElementTree as ElementTree

import pytest
from described_pictures import XMP
from test_xmp import EMPTY, WRAPPED, parsed

from modeling_chromagan.archive.metadata import Metadata
from modeling_chromagan.archive.provenance import SOURCE_TYPE, Provenance, add_provenance
from modeling_chromagan.archive.xmp import NAMESPACES, Packet

MADE = Provenance("chromagan 0.2.0", "chromagan-lite", "ab" * 32, "saturation 1.0", "Straße & <1>.tif", "cd" * 32)


def statements(packet: bytes) -> list[tuple[str, str]]:
    """Properties of all descriptions with their text, as an XML parser sees them."""
    root = parsed(packet)
    rdf = root if root.tag.endswith("RDF") else root[0]
    found = []
    for description in rdf:
        found += [(name, text) for name, text in description.attrib.items() if NAMESPACES["rdf"] not in name]
        found += [(child.tag, "".join(child.itertext())) for child in description]
    return sorted(found)


@pytest.mark.parametrize("source", [*EMPTY, XMP, WRAPPED.encode(), WRAPPED.encode("utf-16")])
def test_provenance_comes_into_any_packet_and_harms_nothing_in_it(source):
    packet = add_provenance(Metadata(xmp=source), MADE).xmp
    after = statements(packet)
    extension = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
    assert (
        f"{extension}DigitalSourceType",
        "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    ) in after
    assert (f"{extension}AISystemUsed", "chromagan, chromagan-lite") in after
    assert (f"{extension}AISystemVersionUsed", "0.2.0") in after
    assert (f"{{{NAMESPACES['chromagan']}}}OriginalSHA256", "cd" * 32) in after
    assert (f"{{{NAMESPACES['xmpMM']}}}DerivedFrom", "Straße & <1>.tif") in after
    before = statements(Packet(source).source) if b"Description" in source.replace(b"\0", b"") else []
    assert [statement for statement in after if statement in before] == before


@pytest.mark.parametrize(
    "already",
    [
        '<Iptc4xmpExt:DigitalSourceType xmlns:Iptc4xmpExt="{}">{}</Iptc4xmpExt:DigitalSourceType>',
        '<I:DigitalSourceType xmlns:I="{}" r:resource="{}"/>',
    ],
)
def test_a_source_type_that_is_there_gives_way(already):
    element = already.format(NAMESPACES["Iptc4xmpExt"], SOURCE_TYPE.replace("compositeWithT", "t"))
    source = WRAPPED.replace("<d:source>", element + "<d:source>").encode()
    assert "trainedAlgorithmicMedia" in Packet(source).values("Iptc4xmpExt:DigitalSourceType")[0]
    made = add_provenance(Metadata(xmp=source), MADE)
    assert Packet(made.xmp).values("Iptc4xmpExt:DigitalSourceType") == [SOURCE_TYPE]
    assert [note.split(",")[1].strip() for note in made.notes] == ["trainedAlgorithmicMedia"]


def test_a_source_type_as_an_attribute_gives_way():
    attribute = (
        f'xmlns:E="{NAMESPACES["Iptc4xmpExt"]}" E:DigitalSourceType="http://example.org/negativeFilm" tiff:Make='
    )
    source = WRAPPED.replace("tiff:Make=", attribute).encode()
    packet = add_provenance(Metadata(xmp=source), MADE).xmp
    assert Packet(packet).values("Iptc4xmpExt:DigitalSourceType") == [SOURCE_TYPE]
    assert Packet(packet).values("tiff:Make") == ['X & "Y"\nZ']


def test_a_result_that_is_colorized_again_has_one_provenance():
    once = add_provenance(Metadata(xmp=XMP), MADE)
    twice = Packet(add_provenance(once, MADE).xmp)
    assert twice.values("chromagan:Software") == ["chromagan 0.2.0"]
    assert add_provenance(once, MADE).notes == ()
    assert twice.values("xmp:CreatorTool") == ["A scanner"]


def test_equal_inputs_have_equal_bytes():
    assert add_provenance(Metadata(xmp=XMP), MADE) == add_provenance(Metadata(xmp=XMP), MADE)


def test_a_packet_that_nobody_can_read_gives_way_with_a_note():
    metadata = add_provenance(Metadata(xmp=b"<x:xmpmeta"), MADE)
    assert Packet(metadata.xmp).values("chromagan:Model") == ["chromagan-lite"]
    assert len(metadata.notes) == 1


def test_no_property_is_named_twice():
    names = [name for name, _ in statements(add_provenance(Metadata(xmp=XMP), MADE).xmp)]
    assert len(names) == len(set(names))
    ElementTree.fromstring(add_provenance(Metadata(), MADE).xmp)
