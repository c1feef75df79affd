"""What an agent must see of the shop's first customers through SHOP_POLICY, and how to tell that it
saw no more.

The truth is read past the gateway, from the database itself; nothing here repeats the masking code.
"""

from __future__ import annotations

from typing import Any

import psycopg

from tests.support.gateway import Gateway
from tests.support.postgres import Server

#: Columns without a mask first: id, name, city; then email, ssn, phone, birth_date.
COLUMNS = "id, name, city, email, ssn, phone, birth_date"
QUERY = f"SELECT {COLUMNS} FROM customers ORDER BY id LIMIT 5"
#: Expressions and a condition over masked columns: computed from the masks' values, which a NOTICE
#: says.
COMPUTED = """SELECT id, upper(email), right(ssn, 4), coalesce(phone, '-'), birth_date + 1
FROM customers WHERE email LIKE '_***@example.%' AND birth_date <= '2100-01-01'
  ORDER BY id LIMIT 5"""
NOTICE = (
    "[SP2001] computed with masked values of public.customers.birth_date (date),"
    " public.customers.email (email), public.customers.phone (redact), public.customers.ssn"
    " (partial)"
)


def server_of(gateway: Gateway) -> Server:
    return gateway.targets["shop"]


def truth(gateway: Gateway, sql: str = QUERY) -> list[tuple[Any, ...]]:
    """What the database says, past the gateway."""
    with psycopg.connect(server_of(gateway).agent_dsn) as db:
        return db.execute(sql).fetchall()


def check_masked(seen: list[tuple[Any, ...]], gateway: Gateway) -> None:
    """Rows of QUERY: public columns as they are, masked columns as the policy says, whatever type
    the driver made.
    """
    real = truth(gateway)
    assert len(seen) == len(real) == 5
    for mine, theirs in zip(seen, real, strict=True):
        assert tuple(mine[:3]) == theirs[:3]
        email, ssn, phone, birth = theirs[3:]
        assert mine[3] != email
        assert mine[3].rpartition("@")[2] != ""
        assert email.rpartition("@")[0] not in mine[3]
        assert mine[4] != ssn
        assert mine[4][-4:] == ssn[-4:]
        assert ssn[:6] not in mine[4]
        if phone is None:
            assert mine[5] is None
        else:
            assert not set("0123456789") & set(mine[5])
        assert str(mine[6])[:10] == f"{birth.year}-01-01"


def check_computed(seen: list[tuple[Any, ...]], gateway: Gateway) -> None:
    """Rows of COMPUTED."""
    real = truth(gateway)
    assert len(seen) == len(real) == 5
    for mine, (number, _, _, email, ssn, _, birth) in zip(seen, real, strict=True):
        initial, host = email[:1].upper(), email.partition("@")[2].upper()
        expected = (number, f"{initial}***@{host}", ssn[-4:], "[redacted]", f"{birth.year}-01-02")
        assert (*mine[:4], str(mine[4])[:10]) == expected


def check_no_secrets(text: str | bytes, gateway: Gateway) -> None:
    """No real value of a masked column of the first customers is anywhere in ``text``."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    for row in truth(
        gateway, "SELECT email, ssn, card_number, phone FROM customers ORDER BY id LIMIT 50"
    ):
        for value in row:
            assert value is None or value not in text
