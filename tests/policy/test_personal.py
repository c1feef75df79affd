"""What `pii-default` masks and what it leaves alone, by the names of columns; what `policy
coverage` says of the rest.
"""

from __future__ import annotations

import pytest

from sallyport.policy.bind import bind
from sallyport.policy.coverage import Coverage
from sallyport.policy.file.load import parse_policy
from sallyport.policy.file.spellings import spellings, words_of
from sallyport.sql.catalog.snapshot import CatalogSnapshot, Column, Relation, Type

PACK = "version: 1\npacks: [pii-default]\n"
TEXT, BOOL, MOMENT = 25, 16, 1184

MASKED = {
    "customers": (
        "name first_name lastName FullName EMAIL phone zip zip_code postalCode street"
        " billing_address address_line_1 insurance_number member_number policy_number username"
        " user_name mrn diagnosis blood_type iban accountNumber sort_code card_number cvv dob ssn"
        " passport_number ip_address login_token"
    ),
    "app_users": "name display_name login nickname",
    "kunden": (
        "name vorname nachname strasse straße hausnummer plz postleitzahl anschrift telefon handy"
        " geburtsdatum versichertennummer mitgliedsnummer benutzername passwort kontonummer"
        " krankheit blutgruppe steuernummer"
    ),
    "clients": (
        "nom prenom prénom adresse_postale rue code_postal courriel telephone date_naissance"
        " numero_securite_sociale numero_adherent nom_utilisateur mot_de_passe rib groupe_sanguin"
    ),
    "clientes": (
        "nombre apellidos direccion calle codigo_postal correo telefono móvil fecha_nacimiento dni"
        " numero_afiliado nombre_usuario contraseña cuenta_bancaria alergias"
    ),
}
#: What stands beside personal data, and names of things: nobody's.
INNOCENT = {
    "products": (
        "id name nombre nom title description sku price stock status state color brand display_name"
        " tags"
    ),
    "countries": "name country country_code iso_code currency region state city continent",
    "orders": (
        "id customer_id user_id patient_id status state total tax currency placed_at address_id"
        " country_code city"
    ),
    "companies": (
        "name company_name legal_form website domain industry vat_rate product_name file_name"
        " table_name hostname"
    ),
    "settings": (
        "key value name type enabled code level category version locale timezone language"
        " email_template phone_type"
    ),
    "members_stats": (
        "member_count zip_file_size street_count name_length email_domain address_type policy_id"
        " insurance_type"
    ),
    "jobs": (
        "job_name queue_name worker username_format task host port pinned panel token_count"
        " secretary_id mailbox_id"
    ),
    "kategorien": "name bezeichnung land stadt status artikelnummer menge preis",
    "events": (
        "event_name event_type event_date session_id request_id user_agent last_login created_by"
        " updated_at"
    ),
}


def _catalog(tables: dict[str, str], *more: Type, **types: int) -> CatalogSnapshot:
    relations = [
        Relation(
            20000 + i, "public", name, "r",
            tuple(Column(c, n, types.get(c, TEXT)) for n, c in enumerate(columns.split(), 1)),
        )
        for i, (name, columns) in enumerate(tables.items())
    ]  # fmt: skip
    return CatalogSnapshot.make(
        server_version=180000,
        epoch="e",
        database="shop",
        role="agent",
        default_search_path=("public",),
        schemas=frozenset({"public"}),
        relations=tuple(relations),
        types=tuple(
            Type(oid, "pg_catalog", name, "b")
            for oid, name in ((TEXT, "text"), (BOOL, "bool"), (MOMENT, "timestamptz"))
        )
        + more,
        functions=(),
    )


def _states(text: str, catalog: CatalogSnapshot, target: str = "shop") -> dict[str, Coverage]:
    bound = bind(parse_policy(text, "p"), catalog, target)
    return {column.column.removeprefix("public."): column.state for column in bound.coverage()}


@pytest.mark.parametrize("table", MASKED)
def test_what_says_personal_is_masked(table: str) -> None:
    states = _states(PACK, _catalog({table: MASKED[table]}))
    assert {name for name, state in states.items() if state is not Coverage.MASKED} == set()


@pytest.mark.parametrize("table", INNOCENT)
def test_the_innocent_are_neither_masked_nor_asked_about(table: str) -> None:
    states = _states(PACK, _catalog({table: INNOCENT[table]}))
    assert {name for name, state in states.items() if state is not Coverage.CLEAR} == set()


def test_free_text_is_tagged_and_told_but_not_masked() -> None:
    catalog = _catalog({"visits": "notes bemerkung commentaire observaciones comment"})
    bound = bind(parse_policy(PACK, "p"), catalog, "shop")
    assert {column.state for column in bound.coverage()} == {Coverage.LOOKS_PERSONAL}
    assert {column.tags for column in bound.coverage()} == {("pii.free_text",)}


def test_names_look_personal_without_the_pack_and_beyond_it() -> None:
    catalog = _catalog(
        {
            "t": (
                "email guest_email_2 partner_vorname email_verified is_patient email_id"
                " customerPhones phones_at"
            )
        },
        email_verified=BOOL,
        phones_at=MOMENT,
    )
    states = _states("version: 1\n", catalog)
    personal = {name for name, state in states.items() if state is Coverage.LOOKS_PERSONAL}
    assert personal == {"t.email", "t.guest_email_2", "t.partner_vorname", "t.customerPhones"}


def test_what_was_looked_at_is_clear_and_the_tag_needs_no_rule() -> None:
    policy = PACK + "tags: {clear: ['public.visits.notes']}\n"
    assert parse_policy(policy, "p").warnings == ()
    states = _states(policy, _catalog({"visits": "notes remarks"}))
    assert states == {"visits.notes": Coverage.CLEAR, "visits.remarks": Coverage.LOOKS_PERSONAL}


def test_masks_of_other_targets_cover_nothing_here() -> None:
    mask = (
        "masks: [{columns: ['public.t.email'], with: redact, filter: masked, targets: [other]}]\n"
    )
    catalog = _catalog({"t": "email"})
    assert _states("version: 1\n" + mask, catalog) == {"t.email": Coverage.LOOKS_PERSONAL}
    assert _states("version: 1\n" + mask, catalog, "other") == {"t.email": Coverage.MASKED}


def test_masks_are_told_with_for_whom() -> None:
    who = "subjects: {groups: [agents]}, except: {groups: [privacy]}"
    text = (
        "version: 1\nmasks: [{columns: ['public.t.email'], with: email, filter: masked,"
        f" {who}}}]\n"
    )
    (column,) = bind(parse_policy(text, "p"), _catalog({"t": "email"}), "shop").coverage()
    assert column.masks == ("email for group agents, except for group privacy",)


def test_partitions_and_views_are_not_listed() -> None:
    from tests.policy.shop import CATALOG

    relations = {name.rpartition(".")[0] for name in _states(PACK, CATALOG)}
    assert "orders" in relations
    assert not relations & {"orders_2025", "customer_names", "pg_catalog.pg_class"}


def test_spellings() -> None:
    assert spellings("first_name") == (
        "first_name",
        "firstname",
        "firstName",
        "FirstName",
        "FIRST_NAME",
    )
    assert spellings("*_zip") == ("*_zip", "*Zip", "*_ZIP")
    assert spellings("*users") == ("*users", "*Users", "*USERS")
    assert words_of("customerEMail_2") == ("customer", "e", "mail", "2")
    assert words_of("IBANNumber") == ("iban", "number")


def test_types_are_named_as_sql_writes_them() -> None:
    """A type whose name begins as PostgreSQL's names of array types do is not taken for an
    array.
    """
    array = Type(1009, "pg_catalog", "_text", "b", element=TEXT)
    odd = Type(7001, "public", "_x", "c")
    catalog = _catalog({"t": "a b c d"}, array, odd, b=array.oid, c=odd.oid, d=9999)
    bound = bind(parse_policy("version: 1\n", "p"), catalog, "shop")
    assert [column.type for column in bound.coverage()] == ["text", "text[]", "_x", ""]
