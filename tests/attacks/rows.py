"""The rows that every world has: their public columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_NAMES = ("Ada", "Bob", "Cem", "Dora", "Edo", "Fay", "Gil", "Hal")
_CITIES = ("Oslo", "Rome", "Oslo", "Lima", "Rome", "Oslo", "Cork", "Lima")


def public_rows(
    number: int,
) -> dict[str, list[tuple[dict[str, str], int]]]:  # long: one table of rows
    """Table to rows: public columns as SQL, and the number from which the masked ones are made."""
    rows = range(number)

    def table(
        make: Callable[[int], dict[str, str]], count: Iterable[int] = rows
    ) -> list[tuple[dict[str, str], int]]:
        return [(make(i), i) for i in count]

    return {
        "people": table(
            lambda i: {
                "id": str(i + 1),
                "name": f"'{_NAMES[i]}'",
                "city": f"'{_CITIES[i]}'",
                "age": str(25 + 3 * i),
                "joined": f"'2024-03-{i + 10}'",
                "active": str(i % 3 != 0),
            }
        ),
        "orders": table(
            lambda i: {
                "id": str(i + 1),
                "person_id": str(i % 5 + 1),
                "note": f"'note {i}'",
                "amount": str(10 * i),
                "placed": f"'2025-02-{i + 10}'",
            }
        ),
        "notes": table(
            lambda i: {
                "id": str(i + 1),
                "title": f"'title {i}'",
                "body": f"'some text {i}'",
                "tags": "'{a,b}'",
                "doc": "'{\"a\": [1, 2]}'",
            },
            range(4),
        ),
        "cards": table(lambda i: {"id": str(i + 1), "holder": f"'{_NAMES[i]}'"}),
        "refs": table(lambda i: {"id": str(i + 1)}, range(3)),
        "long_texts": table(lambda i: {"id": str(i + 1), "title": f"'long {i}'"}),
        "gen": table(lambda i: {"id": str(i + 1)}),
        "events": table(
            lambda i: {
                "id": str(i + 1),
                "day": f"'{2025 + i % 2}-05-{i + 10}'",
                "kind": f"'kind {i % 3}'",
            }
        ),
        "by_secret": table(lambda i: {"kind": f"'kind {i % 3}'"}),
        "parent": table(lambda i: {"id": str(i + 1)}, range(3)),
        "child": table(lambda i: {"id": str(i + 11)}, range(3)),
        "grandchild": table(lambda i: {"id": str(i + 21), "more": f"'more {i}'"}, range(3)),
        "vault": table(
            lambda i: {"id": str(i + 1), "open": str(i % 2 == 0), "label": f"'label {i}'"}
        ),
        "judged": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'"}),
        "kept": table(
            lambda i: {
                "id": str(i + 1),
                "label": f"'label {i}'",
                "who": f"(SELECT p FROM public.people p WHERE p.id = {i + 1})",
                "many": f"(SELECT array_agg(p ORDER BY id) FROM people p WHERE p.id <= {i + 1})",
                "about": f"(SELECT ROW('f', p)::public.folder FROM people p WHERE p.id = {i + 1})",
                "somebody": f"(SELECT p::public.somebody FROM people p WHERE p.id = {i + 1})",
            },
            range(3),
        ),
        "tripped": table(lambda i: {"id": str(i + 1), "note": "'n'"}, range(2)),
        "ruled": table(lambda i: {"id": str(i + 1), "note": "'n'"}, range(2)),
        "ledger": table(lambda i: {"id": str(i + 1), "note": f"'n{i}'", "amount": str(i)}),
        "computed": table(lambda i: {"id": str(i + 1), "note": f"'n{i}'", "amount": str(i)}),
        "halved": table(lambda i: {"id": str(i + 1), "note": f"'n{i}'", "amount": str(i + 1)}),
        "partly": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'"}),
        "booked": table(
            lambda i: {"id": str(i + 1), "during": f"int4range({10 * i}, {10 * i + 5})"}
        ),
        "lists": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'"}),
        "ranked": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'"}),
        "bounded": table(lambda i: {"id": str(i + 1), "kept": "500000001"}),
        "owners": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'"}),
        "owned": table(lambda i: {"id": str(i + 1), "owner": str(i + 1)}),
        "owned_sums": table(lambda i: {"id": str(i + 1), "owner": str(i + 1)}),
        "owned_once": table(lambda i: {"id": str(i + 1), "owner": str(i + 1)}),
        "kinds": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'"}),
        "graded": table(lambda i: {"id": str(i + 1)}),
        "numbered": table(lambda i: {"id": str(i + 1)}),
        "paired": table(lambda i: {"id": str(i + 1), "place": str(i)}),
        "boxed": table(
            lambda i: {
                "id": str(i + 1),
                "label": f"'label {i}'",
                "card": f"(SELECT c FROM public.cards c WHERE c.id = {i + 1})",
                "deck": f"(SELECT array_agg(c) FROM public.cards c WHERE c.id = {i + 1})",
            }
        ),
        "boxed_once": table(
            lambda i: {
                "id": str(i + 1),
                "label": f"'label {i}'",
                "card": f"(SELECT c FROM public.cards c WHERE c.id = {i + 1})",
            }
        ),
        "quieted": table(lambda i: {"id": str(i + 1), "note": f"'note {i}'"}),
        "worded": table(lambda i: {"id": str(i + 1), "note": f"'note {i}'"}),
        "unchanged": table(lambda i: {"id": str(i + 1), "note": f"'note {i}'"}),
        "queued": table(lambda i: {"id": str(i + 1), "label": "'same'"}),
        "trailed": table(lambda i: {"id": str(i + 1), "label": "'same'"}),
        "led": table(lambda i: {"id": str(i + 1), "label": "'same'"}),
        "pending": table(lambda i: {"id": str(i + 1), "label": "'same'"}),
        "included": table(lambda i: {"id": str(i + 1), "note": f"'note {i}'"}),
        "hushed": table(lambda i: {"id": str(i + 1), "note": f"'note {i}'"}),
        "placed": table(lambda i: {"id": str(i + 1), "kind": "'b'"}),
        "summed": table(lambda i: {"id": str(i + 1), "amount": str(i)}),
        "later": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'"}),
        "later_apart": table(
            lambda i: {"id": str(i + 1), "during": f"int4range({10 * i}, {10 * i + 5})"}
        ),
        "heads": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'"}),
        "tails": table(lambda i: {"id": str(i + 1)}, range(0, number, 2)),
        "tails_gone": table(lambda i: {"id": str(i + 1)}, range(1, number, 2)),
        "skipped": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'"}),
        "once": table(lambda i: {"id": str(i + 1), "label": f"'label {i}'", "amount": str(i)}),
        "narrowed": table(lambda i: {"id": str(i + 1), "amount": str(i)}),
        "virtual": table(
            lambda i: {"id": str(i + 1), "label": f"'label {i}'", "amount": str(i + 1)}
        ),
    }
