"""Read XMP packets (ISO 16684-1), embedded in a file or beside it as ``.xmp``.

The properties that people fill in: title, description, keywords, people, places, date, rating.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from mmrag_plugin.dates import iso_date
from mmrag_plugin.errors import MediaError
from mmrag_plugin.places import degrees, position

MAX_PACKET_BYTES = 2 * 2**20
_MAX_DEPTH = 100
_MAX_NODES = 100_000  # elements and attributes
# Every name is handed over with its whole namespace: a long one, used often, would fill the memory.
_LONG_NAMESPACE = re.compile(r"""xmlns(?:[^"']{200}|[^"']{0,199}(?:"[^"]{300}|'[^']{300}))""")

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_DC = "http://purl.org/dc/elements/1.1/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
_DIGIKAM = "http://www.digikam.org/ns/1.0/"
_IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_MWG_REGIONS = "http://www.metadataworkinggroup.com/schemas/regions/"
_MICROSOFT_REGION = "http://ns.microsoft.com/photo/1.2/t/Region#"
_MICROSOFT_PHOTO = "http://ns.microsoft.com/photo/1.0/"

_HIERARCHIES = (
    (_LIGHTROOM, "hierarchicalSubject"),
    (_DIGIKAM, "TagsList"),
    (_MICROSOFT_PHOTO, "LastKeywordXMP"),
)
_LEVELS = re.compile(r"\s*[|/]\s*")
# Photo managers keep the names of people below a tag of this name, in the language of the program.
_PEOPLE_TAGS = frozenset("people persons person faces personen personnes personas persone".split())
_FACES = frozenset(("Face", "Pet", ""))  # of regions; others are focus areas and bar codes
_CREATED_PLACE, _SHOWN_PLACE = "LocationCreated", "LocationShown"
_PLACE_PARTS = ("Sublocation", "City", "ProvinceState", "CountryName")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class XmpFacts:
    """What a packet says; ``rating`` is -1 (rejected) to 5 stars, the place is in degrees.

    Dates are ISO 8601: ``taken_at`` by the camera's clock, ``satellite_at`` by a receiver's.
    """

    title: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    taken_at: str | None = None
    rating: int | None = None
    places: tuple[str, ...] = ()
    creator: str = ""
    satellite_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None


def parse_xmp(packet: bytes | str) -> XmpFacts:
    """Parse a packet; what it does not say stays empty. Raises MediaError for anything malformed.

    Document type declarations are refused, so no entity is ever expanded or fetched.
    """
    root = _tree(packet)
    properties = [
        description
        for rdf in root.iter(_name(_RDF, "RDF"))
        for description in rdf.findall(_name(_RDF, "Description"))
    ]

    def texts(namespace: str, name: str) -> Iterator[str]:
        qualified = _name(namespace, name)
        for node in properties:
            if attribute := clean_text(node.get(qualified)):
                yield attribute
            for child in node.findall(qualified):
                yield from _values(child)

    def first(*names: tuple[str, str]) -> str:
        return next((text for name in names for text in texts(*name)), "")

    def date(*names: tuple[str, str]) -> str | None:
        return next(
            (date for name in names for text in texts(*name) if (date := iso_date(text))), None
        )

    keywords = [*texts(_DC, "subject")]
    people = [*texts(_IPTC_EXT, "PersonInImage"), *_regions(root)]
    for name in _HIERARCHIES:
        for text in texts(*name):
            top, *below = _LEVELS.split(text)
            if below and top.casefold() in _PEOPLE_TAGS:
                people.append(below[-1])
            else:
                keywords += [top, *below]
    named = {name.casefold() for name in people}
    latitude, longitude = position(
        degrees(first((_EXIF, "GPSLatitude")), 90), degrees(first((_EXIF, "GPSLongitude")), 180)
    )
    return XmpFacts(
        title=first((_DC, "title"), (_PHOTOSHOP, "Headline")),
        description=first(
            (_DC, "description"),
            (_TIFF, "ImageDescription"),
            (_EXIF, "UserComment"),
            (_IPTC_CORE, "AltTextAccessibility"),
        ),
        keywords=distinct(word for word in keywords if word.casefold() not in named),
        people=distinct(people),
        taken_at=date(
            (_EXIF, "DateTimeOriginal"), (_PHOTOSHOP, "DateCreated"), (_XMP, "CreateDate")
        ),
        rating=_rating(first((_XMP, "Rating"))),
        places=distinct([*_places(texts), *_place_structures(root)]),
        creator=first((_DC, "creator")),
        satellite_at=date((_EXIF, "GPSTimeStamp"), (_EXIF, "GPSDateTime")),
        latitude=latitude,
        longitude=longitude,
    )


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Drop blanks and repetitions (whatever their case), keeping the order."""
    seen: dict[str, str] = {}
    for text in texts:
        if cleaned := clean_text(text):
            seen.setdefault(cleaned.casefold(), cleaned)
    return tuple(seen.values())


def clean_text(text: str | None) -> str:
    """Join the words of a text with single spaces, control characters (escapes!) left out."""
    return " ".join(_CONTROL.sub(" ", text or "").split())


def _tree(packet: bytes | str) -> Element:
    if len(packet) > MAX_PACKET_BYTES:
        raise MediaError(
            f"The XMP packet has {len(packet):,} bytes, more than {MAX_PACKET_BYTES:,}.",
            "Remove it with a metadata editor.",
        )
    if isinstance(packet, bytes):
        utf_16 = packet[:2] in (b"\xff\xfe", b"\xfe\xff")
        packet = packet.decode("utf-16" if utf_16 else "utf-8", errors="replace")
    text = packet.encode("utf-8", errors="replace").decode().strip("\ufeff\x00 \t\r\n")

    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    depth = nodes = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, nodes
        depth += 1
        nodes += 1 + len(attributes)
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if nodes > _MAX_NODES:
            raise ValueError(f"it has more than {_MAX_NODES:,} elements and attributes")
        builder.start(_braced(tag), {_braced(name): text for name, text in attributes.items()})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_braced(tag))

    def refuse_doctype(*_: object) -> None:
        raise ValueError("it declares a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        if _LONG_NAMESPACE.search(text):
            raise ValueError("it names a namespace of 300 characters or more")
        parser.Parse(text, True)
        return builder.close()
    except (expat.ExpatError, ValueError, AssertionError) as error:
        raise MediaError(
            f"The XMP packet can't be read: {error}.", "Write it anew with a metadata editor."
        ) from None


def _name(namespace: str, name: str) -> str:
    return f"{{{namespace}}}{name}"


def _braced(name: str) -> str:
    return "{" + name if "}" in name else name


def _values(node: Element) -> Iterator[str]:
    """Yield the texts of a simple value, or of a list or Alt, the default language first."""
    items = [*node.iter(_name(_RDF, "li"))]
    if not items:
        items = [node]
    items.sort(key=lambda item: item.get(_XML_LANG) != "x-default")
    for item in items:
        if text := clean_text("".join(item.itertext())):
            yield text


def _regions(root: Element) -> Iterator[str]:
    """Yield who is marked in the picture, and who is named beside it with more than a name."""
    for node in root.iter():
        values = dict(node.attrib) | {child.tag: child.text or "" for child in node}
        if values.get(_name(_MWG_REGIONS, "Type"), "") in _FACES:
            yield values.get(_name(_MWG_REGIONS, "Name"), "")
        yield values.get(_name(_MICROSOFT_REGION, "PersonDisplayName"), "")
        if node.tag == _name(_IPTC_EXT, "PersonName"):
            yield from _values(node)


def _places(texts: Callable[[str, str], Iterator[str]]) -> Iterator[str]:
    yield from texts(_IPTC_CORE, "Location")
    for part in ("City", "State", "Country"):
        yield from texts(_PHOTOSHOP, part)


def _place_structures(root: Element) -> Iterator[str]:
    for kind in (_CREATED_PLACE, _SHOWN_PLACE):
        for place in root.iter(_name(_IPTC_EXT, kind)):
            for node in place.iter():
                for part in _PLACE_PARTS:
                    yield node.get(_name(_IPTC_EXT, part), "")
                    for child in node.findall(_name(_IPTC_EXT, part)):
                        yield from _values(child)


def _rating(text: str) -> int | None:
    try:
        rating = round(float(text))
    except (ValueError, OverflowError):
        return None
    return rating if -1 <= rating <= 5 else None
