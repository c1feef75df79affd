"""Whether a column's name says that it may hold personal data: wider than the masks of
``pii-default``, because it only makes people look.

What the pack names, in any spelling, looks personal whatever the policy. Beyond it, one word of the
name is enough (``customer_mail_2``, ``partner_vorname``), unless its other words or its type say
that it is about the data and not the data (``email_verified``, ``phone_type``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from sallyport.policy.file.load import pack_tags
from sallyport.policy.file.patterns import Pattern
from sallyport.policy.file.spellings import words_of
from sallyport.policy.name_index import NameIndex
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Column, ColumnId, Relation

#: A word of a name, and the tag that it hints at.
_WORDS = {
    word: tag
    for tag, words in {
        "pii.email": "email mail emails courriel correo",
        "pii.phone": (
            "phone phones telephone telefon telefono téléphone teléfono mobile handy fax whatsapp"
        ),
        "pii.name": (
            "firstname lastname surname fullname vorname nachname prenom prénom apellido apellidos "
            "author driver owner doctor physician teacher lawyer spouse guardian cardholder"
        ),
        "pii.username": "username login nickname benutzername handle",
        "pii.national_id": (
            "ssn passport passeport pasaporte reisepass taxpayer steuernummer dni curp cpf"
        ),
        "pii.birth": "dob birth birthday birthdate geburtsdatum naissance nacimiento age",
        "pii.address": (
            "address adresse anschrift direccion dirección street strasse straße rue calle zip"
            " zipcode postcode plz postleitzahl latitude longitude"
        ),
        "pii.member": "insurance versicherung seguro mutuelle membership",
        "pii.health": (
            "diagnosis diagnose diagnostic diagnostico disease illness allergy allergies medication"
            " prescription patient krankheit maladie enfermedad religion ethnicity gender sex"
        ),
        "pii.bank": "iban bic salary gehalt salaire salario income",
        "secret.credential": "password passwort credential credentials secret apikey",
        "pii.free_text": (
            "notes remarks comments bemerkungen kommentare commentaires observaciones transcript"
            " biography bio"
        ),
    }.items()
    for word in words.split()
}
#: Last words of names that say something about data instead of holding it.
_ABOUT = frozenset(
    [
        "id",
        "ids",
        "uuid",
        "size",
        "file",
        "key",
        "type",
        "kind",
        "status",
        "state",
        "count",
        "total",
        "number_of",
        "at",
        "on",
        "date",
        "time",
        "verified",
        "confirmed",
        "enabled",
        "disabled",
        "required",
        "allowed",
        "sent",
        "valid",
        "format",
        "template",
        "domain",
        "provider",
        "version",
        "count",
        "length",
        "hash_algorithm",
        "language",
        "locale",
        "flag",
        "url",
        "uri",
        "path",
        "class",
        "group",
        "level",
        "category",
        "subject",
        "code",
        "policy",
        "expires",
        "score",
    ]
)
_ABOUT_FIRST = frozenset(
    ["is", "has", "can", "was", "allow", "allows", "num", "count", "total", "last"]
)
#: Types whose values are no texts, numbers or dates of a person: by name in pg_catalog.
_TYPES = frozenset(
    ["bool", "timestamp", "timestamptz", "interval", "tsvector", "tsrange", "tstzrange"]
)


@cache
def _pack() -> Mapping[str, tuple[Pattern, ...]]:
    return pack_tags("pii-default")


def personal_columns(
    catalog: CatalogSnapshot, relations: Iterable[Relation]
) -> dict[ColumnId, str]:
    """The columns of these relations that look personal, each with the tag of ``pii-default`` that
    its name hints at.
    """
    index, out = NameIndex.of(catalog), dict[ColumnId, str]()
    for tag, patterns in _pack().items():
        for pattern in patterns:
            for id_ in index.columns(pattern):
                out.setdefault(id_, tag)
    meant = {}
    for relation in relations:
        for column in relation.columns:
            id_ = ColumnId(relation.oid, column.attnum)
            tag = out.get(id_) or _hint(column, catalog)
            if tag:
                meant[id_] = tag
    return meant


def looks_personal(name: str) -> bool:
    """Whether a column's name alone hints at personal data."""
    words = words_of(name)
    if not words or words[-1] in _ABOUT or words[0] in _ABOUT_FIRST:
        return False
    return any(word in _WORDS for word in words)


def _hint(column: Column, catalog: CatalogSnapshot) -> str:
    type_ = catalog.types.get(column.type_oid)
    words = words_of(column.name)
    if not words or (type_ is not None and type_.name in _TYPES):
        return ""
    if words[-1] in _ABOUT or words[0] in _ABOUT_FIRST:
        return ""
    return next((_WORDS[word] for word in words if word in _WORDS), "")
