"""What a made picture's file says of itself: its provenance, and that no camera took it.

PNG says it in iTXt chunks; PNG, JPEG and WebP say it in an XMP packet (ISO 16684-1) too, with the digital source type
of IPTC that viewers and archives read, and in properties of this project's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from unimedvl.imaging.errors import ImagingError
from unimedvl.imaging.kind import detect
from unimedvl.imaging.source import check_pixels, open_source

PROVENANCE_KEY = "unimedvl:provenance"
SYNTHETIC = "SYNTHETIC image made by a model (UniMedVL). Not for clinical use."
# IPTC's words for a picture that a trained model made.
TRAINED_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_IPTC, _XMP, _OWN = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "http://ns.adobe.com/xap/1.0/", "urn:unimedvl:xmp/"
# A packet in a JPEG must fit one segment, whose length has 16 bits, with the name of what it is.
JPEG_PACKET = 65_502
# A larger packet than any that is written here is not read.
_LONGEST_PACKET = 8 * 2**20


@dataclass(frozen=True)
class Told:
    """What a file says of itself.

    provenance: the whole, None where it is not in the file. digest: its SHA-256 as the file states it, empty where it
    does not. made: whether the file says that a trained model made it. software, comment: in its own words.
    """

    provenance: dict | None = None
    digest: str = ""
    made: bool = False
    software: str = ""
    comment: str = ""


def digest_of(provenance: dict) -> str:
    """Hexadecimal SHA-256 of a provenance as JSON, its keys in order.

    Raises:
        TypeError, ValueError: it is no JSON.
    """
    written = json.dumps(json.loads(_json(provenance)), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(written.encode()).hexdigest()


def chunks(provenance: dict) -> PngInfo:
    """The text chunks of a PNG."""
    told = PngInfo()
    told.add_itxt(PROVENANCE_KEY, _json(provenance, ensure_ascii=False))
    told.add_itxt("Software", "UniMedVL")
    told.add_itxt("Comment", SYNTHETIC)
    told.add_itxt("XML:com.adobe.xmp", packet({}, digest_of(provenance)).decode())
    return told


def packet(provenance: dict, digest: str) -> bytes:
    """An XMP packet. provenance: the whole, or empty where the file has it elsewhere or has no room for it."""
    whole = f"\n    unimedvl:provenance={quoteattr(_json(provenance))}" if provenance else ""
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="{_IPTC}"
    xmlns:xmp="{_XMP}"
    xmlns:unimedvl="{_OWN}"
    Iptc4xmpExt:DigitalSourceType="{TRAINED_MEDIA}"
    xmp:CreatorTool="UniMedVL"
    unimedvl:notice={quoteattr(SYNTHETIC)}
    unimedvl:provenanceSha256="{digest}"{whole}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>""".encode()


def read_provenance(path: str | os.PathLike | bytes) -> dict | None:
    """The provenance in the metadata of a made picture (PNG, JPEG, WebP or TIFF), or None for one without.

    Raises:
        ImagingError: not a readable image, or its provenance is damaged.
    """
    with open_source(path) as source:
        kind = detect(source)
        if kind not in ("png", "jpeg", "webp", "tiff"):
            return None
        source.stream.seek(0)
        try:
            with PillowImage.open(source.stream, formats=(kind.upper(),)) as picture:
                check_pixels(source.name, *picture.size)
                return told_by(picture).provenance
        except ImagingError:
            raise
        except _NoObject as error:
            raise ImagingError(source.name, "has a provenance that is no JSON object") from error
        except Exception as error:  # decoders raise every type there is on damaged files
            raise ImagingError(source.name, f"is a damaged {_NAMES[kind]} ({error})") from error


_NAMES = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "tiff": "TIFF"}


class _NoObject(ValueError):
    pass


def told_by(picture: PillowImage.Image) -> Told:
    """What an opened picture's metadata says. Raises ValueError where it has a provenance that is damaged."""
    info = picture.info
    found = _properties(_packet_of(picture))
    comment = info.get("Comment") or found.get(f"{{{_OWN}}}notice") or _text(info.get("comment"))
    made = found.get(f"{{{_IPTC}}}DigitalSourceType", "") == TRAINED_MEDIA
    text = info.get(PROVENANCE_KEY) or found.get(f"{{{_OWN}}}provenance")
    return Told(
        None if text is None else _object(text),
        found.get(f"{{{_OWN}}}provenanceSha256", ""),
        made or PROVENANCE_KEY in info,
        str(info.get("Software") or found.get(f"{{{_XMP}}}CreatorTool") or ""),
        str(comment or ""),
    )


def says_made(picture: PillowImage.Image) -> bool:
    """Whether a picture's metadata says that a trained model made it; told without parsing."""
    return PROVENANCE_KEY in picture.info or TRAINED_MEDIA.encode() in _packet_of(picture)


def _packet_of(picture: PillowImage.Image) -> bytes:
    """The XMP packet, however Pillow and the format keep it; empty where there is none."""
    packet = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
    if not packet and picture.format == "TIFF":
        packet = picture.tag_v2.get(700, b"")
    packet = packet.encode() if isinstance(packet, str) else bytes(packet)
    return packet if len(packet) <= _LONGEST_PACKET else b""


def _properties(packet: bytes) -> dict[str, str]:
    """Simple properties of a packet by qualified name; none where it can't be read."""
    # A document type could define entities that unfold to gigabytes; XMP has none.
    text = packet.decode("utf-8", "replace").strip("\x00 \r\n\t\ufeff")
    if not text or "<!DOCTYPE" in text:
        return {}
    found: dict[str, str] = {}
    try:
        for element in ElementTree.fromstring(re.sub(r"<\?xpacket.*?\?>", "", text)).iter():
            if len(element) == 0 and element.text and element.text.strip():
                found.setdefault(element.tag, element.text.strip())
            for name, value in element.attrib.items():
                found.setdefault(name, value)
    except ElementTree.ParseError:
        return {}
    return found


def _object(text: object) -> dict:
    found = json.loads(str(text))
    if not isinstance(found, dict):
        raise _NoObject("the provenance is no JSON object")
    return found


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _json(provenance: dict, ensure_ascii: bool = True) -> str:
    return json.dumps(provenance, sort_keys=True, ensure_ascii=ensure_ascii, allow_nan=False)
