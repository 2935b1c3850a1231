"""XMP packets: properties read, taken out and added, everything else left as it stands, byte by byte.

XML libraries write a tree anew, with other prefixes and without comments; so expat tells where things stand, and the
text between stays. ISO 16684-1 (XMP part 1: data model, serialization), XMP part 3 (extended packets of JPEG).
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "x": "adobe:ns:meta/",
    "xml": "http://www.w3.org/XML/1998/namespace",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "stRef": "http://ns.adobe.com/xap/1.0/sType/ResourceRef#",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "chromagan": "urn:uuid:6d8a3c0e-52f7-5b0a-9f43-1f6e0c7b2a91#",  # ours: nothing is found there, it only is unique
}
LARGEST = 16 << 20  # bytes of a packet that we parse; those of programs that log every step have some megabytes

DEEPEST = 100  # elements in elements
HEAD = re.compile(r"\s*(<\?xml\s[^>]*\?>)?\s*(<\?xpacket\s[^>]*\?>)?\s*")
TAG_NAME = re.compile(rb"<\s*/?\s*([^\s/>]+)")
ATTRIBUTE = re.compile(rb"\s+([^\s=]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
START_TAG = re.compile(rb"<(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, Char


def plain(text: str) -> str:
    """Text as XML content."""
    return escape(ILLEGAL.sub("\ufffd", text), {"\r": "&#13;"})


def simple(name: str, text: str) -> str:
    """A property, "dc:source", of one value."""
    return f"<{name}>{plain(text)}</{name}>"


def array(name: str, kind: str, texts: Iterable[str]) -> str:
    """A property of several values: "Bag" (any order), "Seq" (in order) or "Alt" (of which the first is default)."""
    language = ' xml:lang="x-default"' if kind == "Alt" else ""
    items = "".join(f"<rdf:li{language}>{plain(text)}</rdf:li>" for text in texts)
    return f"<{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>"


def structure(name: str, fields: dict[str, str]) -> str:
    """A property, or "rdf:li", of named values."""
    return f'<{name} rdf:parseType="Resource">' + "".join(simple(*item) for item in fields.items()) + f"</{name}>"


@dataclass
class Element:
    """Where an element stands: `begin` to `end`; `scope` has the prefixes that are declared outside of it."""

    name: str
    begin: int
    scope: dict[str, str]
    end: int = 0
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass
class Property:
    """A property in one place, with its values; an attribute of a description where `element` is None."""

    begin: int
    end: int
    values: list[str]
    element: Element | None = None


class Packet:
    """One XMP packet, parsed; without one a new one.

    Raises:
        ValueError: if it is not well-formed XMP, has a document type declaration (entities without end) or is too
            large.
    """

    def __init__(self, packet: bytes = b""):
        self.original = packet
        self.source = unwrapped(packet) if packet.strip() else b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
        self.properties: dict[str, list[Property]] = {}
        self.descriptions: list[Element] = []
        self.root: Element | None = None
        self.rdf: Element | None = None
        self.edits: list[tuple[int, int, bytes]] = []
        self.new: dict[str, list[str]] = {}
        self.added: list[str] = []  # properties
        self.merged: list[str] = []  # descriptions
        _Reader(self).read()

    def values(self, name: str) -> list[str]:
        """The values of a property, "dc:title"; empty where there is none."""
        stored = self.properties.get(_full(name), ())
        return [*(value for place in stored for value in place.values), *self.new.get(_full(name), ())]

    def remove(self, *names: str) -> None:
        """Takes properties out."""
        for name in names:
            for place in self.properties.pop(_full(name), ()):
                self.edits.append((place.begin, place.end, b""))

    def put(self, name: str, texts: list[str], kind: str = "") -> None:
        """Puts a property in, "dc:title", one value or, with a `kind` of array, several."""
        self.new.setdefault(_full(name), []).extend(texts)
        self.added.append(array(name, kind, texts) if kind else simple(name, texts[0]))

    def add(self, fragment: str) -> None:
        """Puts a property in as XML with the prefixes of `NAMESPACES`."""
        self.added.append(fragment)

    def merge(self, other: "Packet") -> None:
        """Puts everything in that another packet describes."""
        self.merged += [other.standing_alone(element) for element in other.descriptions]

    def standing_alone(self, element: Element) -> str:
        """The text of an element with the prefixes that are declared around it."""
        text = self.source[element.begin : element.end]
        start = START_TAG.match(text)
        own = {name for name, _ in ATTRIBUTE.findall(start[0])} if start else set()
        declared = ""
        for prefix, uri in sorted(element.scope.items()):
            attribute = f"xmlns:{prefix}" if prefix else "xmlns"
            if attribute.encode() not in own:
                declared += f" {attribute}={quoteattr(uri)}"
        name = TAG_NAME.match(text)
        assert name is not None
        return text[: name.end()].decode() + declared + text[name.end() :].decode()

    def pack(self) -> bytes:
        """The packet in UTF-8; the very bytes it was made from where nothing was changed."""
        if not (self.edits or self.added or self.merged):
            return self.original
        edits = list(self.edits)
        if self.added or self.merged:
            edits.append(self._insertion())
        source = self.source
        for begin, end, text in sorted(edits, reverse=True):
            source = source[:begin] + text + source[end:]
        return b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>' + source + b'<?xpacket end="w"?>'

    def _insertion(self) -> tuple[int, int, bytes]:
        """One more description with what was added, at the end of the others."""
        properties, text = "".join(self.added), "".join(self.merged)
        if properties:
            # All descriptions of a packet are about the same thing, by the same words (XMP part 1, 7.4).
            about = next((value for element in self.descriptions if (value := _about(element)) is not None), "")
            used = sorted({"rdf", *re.findall(r"</?(\w+):", properties)})
            prefixes = "".join(f' xmlns:{prefix}="{NAMESPACES[prefix]}"' for prefix in used)
            text += f"<rdf:Description rdf:about={quoteattr(about)}{prefixes}>{properties}</rdf:Description>"
        if self.rdf is not None:
            return self._inside(self.rdf, text)
        assert self.root is not None
        return self._inside(self.root, f'<rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}">{text}</rdf:RDF>')

    def _inside(self, element: Element, text: str) -> tuple[int, int, bytes]:
        """`text` as the last thing in an element, which may be written as empty: <a/>."""
        name = TAG_NAME.match(self.source, element.begin)
        assert name is not None
        closing = self.source.rfind(b"</", element.begin, element.end)
        start = START_TAG.match(self.source, element.begin)
        if start is not None and start.end() == element.end:
            return element.end - 2, element.end, b">" + text.encode() + b"</" + name[1] + b">"
        return closing, closing, text.encode()


def unwrapped(packet: bytes) -> bytes:
    """The XML of a packet in UTF-8, without declaration, wrapper and padding."""
    if len(packet) > LARGEST:
        raise ValueError("too large")
    text = packet_text(packet).rstrip()
    if text.startswith("?xpacket"):  # as in scans of the Library of Congress
        text = f"<{text}"
    head = HEAD.match(text)
    tail = text.rfind("<?xpacket") if text.endswith("?>") else len(text)
    return text[head.end() if head else 0 : tail].rstrip().encode()


def packet_text(packet: bytes) -> str:
    """A packet's characters; UTF-16 and UTF-32, which XMP allows, are told by their byte order mark or zeros."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe\0\0", "utf-32-le"),
        (b"\0\0\xfe\xff", "utf-32-be"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"<\0\0\0", "utf-32-le"),
        (b"\0\0\0<", "utf-32-be"),
        (b"<\0", "utf-16-le"),
        (b"\0<", "utf-16-be"),
    ):
        if packet.startswith(mark):
            text = packet.decode(encoding)
            break
    else:
        text = packet.decode()
    return text.strip("\ufeff\0")


class _Reader:
    """expat's events -> the places that a packet's properties have."""

    def __init__(self, packet: Packet):
        self.packet = packet
        self.open: list[Element] = []
        self.scope: dict[str, str] = {}
        self.property: Property | None = None
        self.text: list[str] = []
        self.items: list[str] = []
        self.fresh: dict[str, str] = {}

    def read(self) -> None:
        self.parser = parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self.start, self.finish
        parser.StartNamespaceDeclHandler = self.declare
        parser.CharacterDataHandler = self.text.append
        parser.StartDoctypeDeclHandler = self.refuse
        try:
            parser.Parse(self.packet.source, True)
        except expat.ExpatError as error:
            raise ValueError(str(error)) from error

    def refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type")

    def declare(self, prefix: str | None, uri: str | None) -> None:
        self.fresh[prefix or ""] = uri or ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        depth, packet = len(self.open), self.packet
        element = Element(name, self.parser.CurrentByteIndex, self.scope, attributes=attributes)
        self.open.append(element)
        if depth > DEEPEST or len(self.scope) + len(self.fresh) > 10 * DEEPEST:
            raise ValueError("it is nested too deeply")
        self.scope, self.fresh = ({**self.scope, **self.fresh} if self.fresh else self.scope), {}
        self.text.clear()
        if not depth:
            if name not in (_full("x:xmpmeta"), _full("x:xapmeta"), _full("rdf:RDF")):
                raise ValueError("it is no XMP")
            packet.root = element
        if packet.rdf is None and depth <= 1 and name == _full("rdf:RDF"):
            packet.rdf = element
        elif depth and self.open[-2] is packet.rdf:
            packet.descriptions.append(element)
            self.attributes(element)
        elif depth > 1 and self.open[-3] is packet.rdf:
            resource = attributes.get(_full("rdf:resource"))
            self.property = Property(element.begin, 0, [], element)
            self.items = [] if resource is None else [resource]

    def finish(self, name: str) -> None:
        element = self.open.pop()
        self.scope = element.scope
        start = START_TAG.match(self.packet.source, element.begin)
        assert start is not None
        if start[0].endswith(b"/>"):
            element.end = start.end()
        else:
            element.end = self.packet.source.index(b">", self.parser.CurrentByteIndex) + 1
        text = "".join(self.text)
        self.text.clear()
        if self.property is None:
            return
        if self.property.element is element:
            self.property.end = element.end
            self.property.values = self.items or [text]
            self.packet.properties.setdefault(name, []).append(self.property)
            self.property = None
        elif name == _full("rdf:li") and len(self.open) == 5 - (self.packet.rdf is self.packet.root):
            self.items.append(text)

    def attributes(self, element: Element) -> None:
        """Properties that are written as attributes of a description."""
        start = START_TAG.match(self.packet.source, element.begin)
        assert start is not None
        for found in ATTRIBUTE.finditer(start[0]):
            prefix, _, local = found[1].decode().rpartition(":")
            name = f"{self.scope.get(prefix, '')} {local}"
            if prefix not in ("", "xml", "xmlns") and not name.startswith(NAMESPACES["rdf"]):
                begin, end = element.begin + found.start(), element.begin + found.end()
                place = Property(begin, end, [element.attributes[name]])
                self.packet.properties.setdefault(name, []).append(place)


def _full(name: str) -> str:
    prefix, local = name.split(":")
    return f"{NAMESPACES[prefix]} {local}"


def _about(element: Element) -> str | None:
    return element.attributes.get(_full("rdf:about"), element.attributes.get("about"))


# ----- packets of more than a JPEG segment


def split(packet: bytes, limit: int) -> tuple[bytes, bytes]:
    """A packet for one JPEG segment, at most `limit` bytes, and what went out of it into the extended packet.

    The largest properties go, and the first packet names the other's MD5 (XMP part 3, 1.1.3.1). The extended packet is
    empty where it is not needed.

    Raises:
        ValueError: if it cannot be split so.
    """
    if len(packet) <= limit:
        return packet, b""
    whole = Packet(packet)
    movable = [place for places in whole.properties.values() for place in places if place.element is not None]
    room = len(whole.source) + 400 - limit  # 400: wrapper and the note of the other
    moved: list[Property] = []
    for place in sorted(movable, key=lambda place: place.begin - place.end):
        if room <= 0:
            break
        moved.append(place)
        room -= place.end - place.begin
    extended = Packet()
    about = next((value for element in whole.descriptions if (value := _about(element)) is not None), "")
    for place in sorted(moved, key=lambda place: place.begin):
        assert place.element is not None
        property_text = whole.standing_alone(place.element)
        description = f'<rdf:Description xmlns:rdf="{NAMESPACES["rdf"]}" rdf:about={quoteattr(about)}>'
        extended.merged.append(f"{description}{property_text}</rdf:Description>")
        whole.edits.append((place.begin, place.end, b""))
    rest = unwrapped(extended.pack())
    whole.put("xmpNote:HasExtendedXMP", [hashlib.md5(rest, usedforsecurity=False).hexdigest().upper()])
    standard = whole.pack()
    if len(standard) > limit:
        raise ValueError("its properties are too many for a JPEG")
    return standard, rest


def joined(packet: bytes, extended: bytes) -> bytes:
    """A packet with what its extended packet says."""
    whole = Packet(packet)
    whole.remove("xmpNote:HasExtendedXMP")
    whole.merge(Packet(extended))
    return whole.pack()


__all__ = ["NAMESPACES", "Packet", "joined", "split", "structure"]
