"""XML that others wrote, parsed so that nothing in it can do anything: bounded, without DOCTYPE,
entities, comments and processing instructions.

A comment inside a value is where parsers and signatures disagree about the value (CVE-2017-11427
and its kin), so there is none.
"""

from __future__ import annotations

from lxml import etree

from sallyport.core.errors import SallyportError

NAMESPACES = {
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "xenc": "http://www.w3.org/2001/04/xmlenc#",
    "xenc11": "http://www.w3.org/2009/xmlenc11#",
}
MAX_RESPONSE_BYTES = 262_144
MAX_DEPTH = 64

Element = etree._Element


class SamlError(SallyportError):
    """A message of an identity provider is refused. The text is for the log; it quotes no value but
    names and algorithms.
    """


def tag(name: str) -> str:
    """``saml:Assertion`` as lxml writes it."""
    prefix, _, local = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def parse(data: bytes, max_bytes: int = MAX_RESPONSE_BYTES) -> Element:
    """The root element. Raises SamlError."""
    if len(data) > max_bytes:
        raise SamlError(f"the document is longer than {max_bytes} bytes")
    # UTF-16 and friends would hide a DOCTYPE from this look; the parser's own verdict below does
    # not depend on it.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise SamlError("the document has a DOCTYPE")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise SamlError("the document is not well-formed XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise SamlError("the document has a DOCTYPE")
    if root.getprevious() is not None or root.getnext() is not None:
        raise SamlError("the document has comments or processing instructions")
    for node in root.iter():
        if not isinstance(node.tag, str):
            raise SamlError("the document has comments, entities or processing instructions")
    if _depth(root) > MAX_DEPTH:
        raise SamlError(f"the document is nested more than {MAX_DEPTH} elements deep")
    return root


def serialized(element: Element) -> bytes:
    """The element as a document of its own, with the namespaces that are in scope."""
    return etree.tostring(element, with_tail=False)


def children(element: Element, name: str) -> list[Element]:
    """The children of that name, in their order."""
    return element.findall(tag(name))


def child(element: Element, name: str) -> Element:
    """The only child of that name. Raises SamlError."""
    elements = children(element, name)
    if len(elements) != 1:
        raise SamlError(
            f"{etree.QName(element).localname} has {len(elements)} elements {name}, not one"
        )
    return elements[0]


def text_of(element: Element) -> str:
    """The text of an element without elements, without white space around it. Raises SamlError."""
    return value_of(element).strip()


def value_of(element: Element) -> str:
    """The same, as it stands: for what names somebody, where "ada " and "ada" are two (SAML core,
    section 1.3.1). Raises SamlError.
    """
    if len(element):
        raise SamlError(f"{etree.QName(element).localname} has elements where a text is expected")
    return element.text or ""


def _depth(root: Element) -> int:
    deepest, level = 0, [(root, 1)]
    while level:
        element, depth = level.pop()
        deepest = max(deepest, depth)
        level.extend((inner, depth + 1) for inner in element)
    return deepest
