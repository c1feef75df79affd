"""Plans as a line of a recording has them."""

from __future__ import annotations

import json

import pytest

from sallyport.approvals.preview.plans import plan_in_words
from sallyport.approvals.states import Preview
from sallyport.server import approval_notes


def _explain(node: dict[str, object]) -> str:
    return json.dumps([{"Plan": node}], indent=2)


SCAN = {
    "Node Type": "Index Scan", "Relation Name": "payments", "Index Name": "payments_order",
    "Index Cond": "(order_id = 4711)", "Total Cost": 8.1,
}  # fmt: skip
UPDATE = {
    "Node Type": "ModifyTable", "Operation": "Update", "Relation Name": "payments", "Plans": [SCAN],
}  # fmt: skip


def test_nodes_relations_and_indexes() -> None:
    assert plan_in_words(_explain(UPDATE)) == (
        "Update on payments by Index Scan using payments_order"
    )
    join = {"Node Type": "Nested Loop", "Plans": [SCAN, {"Node Type": "Seq Scan",
            "Relation Name": "orders"}]}  # fmt: skip
    assert plan_in_words(_explain({**UPDATE, "Plans": [join]})) == (
        "Update on payments by Nested Loop by (Index Scan using payments_order, Seq Scan on orders)"
    )


def test_a_deep_plan_is_cut() -> None:
    text = "[" + '{"Plan":' + '{"Node Type":"Sort","Plans":[' * 400 + '{"Node Type":"Seq Scan"}'
    assert plan_in_words(text + "]}" * 400 + "}]").count("Sort") == 13


@pytest.mark.parametrize(
    "odd", ["", "[]", "{}", "nonsense", '[{"Plan": {"Plans": []}}]', '[{"Plan": 1}]', "[1]"]
)
def test_what_is_no_plan(odd: str) -> None:
    assert plan_in_words(odd) == ""


def test_a_recording_has_one_line_without_values_of_the_plan() -> None:
    said = approval_notes.measured(Preview(plan=_explain(UPDATE), rows=1), False)
    assert said == "1 row; plan: Update on payments by Index Scan using payments_order"
