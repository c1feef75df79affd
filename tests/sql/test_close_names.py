"""Hints with the name most like a missing one."""

from __future__ import annotations

from difflib import SequenceMatcher, get_close_matches

import pytest

from sallyport.sql.names.close_names import closest

NAMES = ["orders", "order_items", "customers", "payments", "products", "categories", "shipments"]


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("order", "orders"),
        ("costumers", "customers"),
        ("catagories", "categories"),
        ("shipment", "shipments"),
        ("zebra", ""),
        ("", ""),
    ],
)
def test_the_closest(name: str, like: str) -> None:
    assert closest(name, NAMES) == like
    assert closest(name, reversed(NAMES)) == like


def test_as_difflib_says() -> None:
    for name in ("ordr_item", "payment", "produkts", "custom", "items", "ship"):
        assert closest(name, NAMES) == next(iter(get_close_matches(name, NAMES, 1, 0.7)), "")


def test_of_many_names_that_are_all_alike_few_are_compared_closely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[float] = []
    ratio = SequenceMatcher.ratio
    monkeypatch.setattr(SequenceMatcher, "ratio", lambda self: compared.append(0) or ratio(self))
    names = [f"invoice_{number}_line_items" for number in range(1000)]
    assert closest("invoice_77_line_itens", names) == "invoice_77_line_items"
    assert 0 < len(compared) <= 8
