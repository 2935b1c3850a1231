"""Says in a result's XMP that its colors were made by a trained model, by which, and from which file.

IPTC Photo Metadata Standard 2025.1 (Digital Source Type, AI System Used and its version), with the term of the IPTC
NewsCodes for "mixed with what generative AI has made"; XMP part 2 for the file that it was made from. There is no time
of making in it, so that equal inputs give equal files; hence no entry in xmpMM:History, which has to name the time.
"""

import dataclasses
from dataclasses import dataclass

from .metadata import Metadata
from .xmp import Packet, structure

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@dataclass(frozen=True)
class Provenance:
    """What made a result from what.

    software: name and version, "chromagan 0.2.0".
    model: name or id of the model.
    weights_sha256: of the file of its weights, hexadecimal.
    settings: in words, "saturation 1.0, size 384".
    original_name: file name of what was colorized.
    original_sha256: of that file, hexadecimal.
    """

    software: str
    model: str
    weights_sha256: str
    settings: str
    original_name: str
    original_sha256: str


def add_provenance(metadata: Metadata, provenance: Provenance) -> Metadata:
    """The metadata with the provenance in its XMP packet; everything else in the packet stays as it is.

    What the packet says of the same (a result that is colorized again) gives way, with a note where it was another
    source type. The scanner's xmp:CreatorTool and an xmpMM:DerivedFrom that is there stay. A packet that cannot be
    read is left out, with a note.
    """
    notes = metadata.notes
    try:
        packet = Packet(metadata.xmp)
    except ValueError as error:
        packet, notes = Packet(), (*notes, f"its XMP cannot be read and is left out ({error})")
    system, _, version = provenance.software.rpartition(" ")
    said = {
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPE,
        "Iptc4xmpExt:AISystemUsed": f"{system}, {provenance.model}",
        "Iptc4xmpExt:AISystemVersionUsed": version,
        "chromagan:Software": provenance.software,
        "chromagan:Model": provenance.model,
        "chromagan:WeightsSHA256": provenance.weights_sha256,
        "chromagan:Settings": provenance.settings,
        "chromagan:OriginalName": provenance.original_name,
        "chromagan:OriginalSHA256": provenance.original_sha256,
    }
    for before in dict.fromkeys(packet.values("Iptc4xmpExt:DigitalSourceType")):
        if before != SOURCE_TYPE:
            named = before.rpartition("/")[2]
            notes = (*notes, f"its DigitalSourceType, {named}, gives way to that of invented colors")
    packet.remove(*said)
    for property_name, text in said.items():
        packet.put(property_name, [text])
    if not packet.values("xmpMM:DerivedFrom"):
        packet.add(structure("xmpMM:DerivedFrom", {"stRef:filePath": provenance.original_name}))
    return dataclasses.replace(metadata, xmp=packet.pack(), notes=notes)


__all__ = ["Provenance", "add_provenance"]
