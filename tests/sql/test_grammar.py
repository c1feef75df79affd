"""No node of PostgreSQL's grammar is forgotten: each is handled, is part of what is handled, or is
refused under a name that policies know.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from sallyport.policy.actions import ACTIONS, canonical
from sallyport.sql import extract
from sallyport.sql.analysis import EXPRESSIONS, FROM_ITEMS, QUERIES, STATEMENTS
from sallyport.sql.ddl import alter as ddl_alter
from sallyport.sql.ddl.refused import NOT_ALTERED, hint_of, kind_of

#: Made by parse analysis and the planner, never by the grammar.
LATER = set(
    [
        "Aggref",
        "AlternativeSubPlan",
        "ArrayCoerceExpr",
        "ArrayExpr",
        "CallContext",
        "CaseTestExpr",
        "CoerceToDomain",
        "CoerceToDomainValue",
        "CoerceViaIO",
        "CollateExpr",
        "ConvertRowtypeExpr",
        "DistinctExpr",
        "FieldSelect",
        "FieldStore",
        "FromExpr",
        "FuncExpr",
        "InferenceElem",
        "InlineCodeBlock",
        "IntList",
        "JsonConstructorExpr",
        "JsonExpr",
        "JsonTablePath",
        "JsonTablePathScan",
        "JsonTableSiblingJoin",
        "MergeAction",
        "NextValueExpr",
        "NullIfExpr",
        "OidList",
        "OnConflictExpr",
        "OpExpr",
        "Param",
        "PartitionRangeDatum",
        "Query",
        "RTEPermissionInfo",
        "RangeTblEntry",
        "RangeTblFunction",
        "RangeTblRef",
        "RawStmt",
        "RelabelType",
        "ReturningExpr",
        "RowCompareExpr",
        "RowMarkClause",
        "ScalarArrayOpExpr",
        "SetOperationStmt",
        "SortGroupClause",
        "SubPlan",
        "SubscriptingRef",
        "TableFunc",
        "TableSampleClause",
        "TargetEntry",
        "Var",
        "WindowClause",
        "WindowFunc",
        "WindowFuncRunCondition",
        "WithCheckOption",
    ]
)
#: Read in place by the handler of what holds them (each checks their fields), or only found in
#: statements that are refused as a whole.
PARTS = set(
    [
        "ATAlterConstraint",
        "A_Indices",
        "A_Star",
        "AccessPriv",
        "Alias",
        "AlterTableCmd",
        "BitString",
        "Boolean",
        "CTECycleClause",
        "CTESearchClause",
        "CaseWhen",
        "ColumnDef",
        "CommonTableExpr",
        "Constraint",
        "CreateOpClassItem",
        "DefElem",
        "Float",
        "FunctionParameter",
        "GroupingSet",
        "IndexElem",
        "InferClause",
        "Integer",
        "IntoClause",
        "JsonAggConstructor",
        "JsonArgument",
        "JsonBehavior",
        "JsonFormat",
        "JsonKeyValue",
        "JsonOutput",
        "JsonReturning",
        "JsonTableColumn",
        "JsonTablePathSpec",
        "List",
        "LockingClause",
        "MergeWhenClause",
        "MultiAssignRef",
        "ObjectWithArgs",
        "OnConflictClause",
        "PartitionBoundSpec",
        "PartitionCmd",
        "PartitionElem",
        "PartitionSpec",
        "PublicationObjSpec",
        "PublicationTable",
        "RangeTableFuncCol",
        "ResTarget",
        "ReturningClause",
        "ReturningOption",
        "RoleSpec",
        "SortBy",
        "StatsElem",
        "String",
        "TableLikeClause",
        "TriggerTransition",
        "TypeName",
        "VacuumRelation",
        "WindowDef",
        "WithClause",
    ]
)
#: Statements only of PL/pgSQL and of the bodies of SQL functions.
BODIES = {"PLAssignStmt", "ReturnStmt"}


def nodes() -> set[str]:
    """Every type that libpg_query's Node can be."""
    spec = importlib.util.find_spec("postgast")
    assert spec is not None
    place = Path((spec.submodule_search_locations or [""])[0]) / "pg_query.desc"
    files = descriptor_pb2.FileDescriptorSet.FromString(place.read_bytes())
    messages = {message.name: message for file in files.file for message in file.message_type}
    return {field.type_name.rpartition(".")[2] for field in messages["Node"].field}


HANDLED = {tag for table in (EXPRESSIONS, FROM_ITEMS, QUERIES, STATEMENTS) for tag in table.table}
STATEMENTS_LEFT = sorted(n for n in nodes() - HANDLED - BODIES - LATER if n.endswith("Stmt"))


def test_every_node_is_accounted_for() -> None:
    assert len(extract.HANDLERS) > 9
    assert nodes() - HANDLED - LATER - PARTS - BODIES - set(STATEMENTS_LEFT) == set()
    assert (LATER | PARTS | BODIES) - nodes() == set()
    assert set() == (LATER | PARTS) & HANDLED
    assert len(HANDLED) > 70


@pytest.mark.parametrize("tag", STATEMENTS_LEFT)
def test_refused_statements_have_a_name_in_policy(tag: str) -> None:
    assert canonical(kind_of(tag)) in ACTIONS


@pytest.mark.parametrize("tag", STATEMENTS_LEFT)
def test_refused_statements_say_what_to_do_instead(tag: str) -> None:
    assert hint_of(tag)


def test_every_subcommand_of_alter_table_was_thought_of() -> None:
    """Judged, or refused with what to do instead; none is both."""
    internal = {
        "AT_AddColumnToView",
        "AT_CookedColumnDefault",
        "AT_AddIndex",
        "AT_ReAddIndex",
        "AT_ReAddConstraint",
    }
    internal |= {
        "AT_ReAddDomainConstraint",
        "AT_AddIndexConstraint",
        "AT_ReAddComment",
        "AT_ReAddStatistics",
    }
    internal |= {"AT_DropOids", "AT_CheckNotNull", "AT_ReplaceRelOptions"}
    judged, refused = (
        set(ddl_alter.ACTIONS),
        {name for name in NOT_ALTERED if name.startswith("AT_")},
    )
    assert judged | refused == subcommands() - internal
    assert not judged & refused


def subcommands() -> set[str]:
    """AlterTableType."""
    spec = importlib.util.find_spec("postgast")
    assert spec is not None
    place = Path((spec.submodule_search_locations or [""])[0]) / "pg_query.desc"
    files = descriptor_pb2.FileDescriptorSet.FromString(place.read_bytes())
    enum = next(e for file in files.file for e in file.enum_type if e.name == "AlterTableType")
    return {value.name for value in enum.value if not value.name.endswith("UNDEFINED")}
