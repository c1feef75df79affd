"""What stays refused by name, whatever policy says, and what would work instead.

Privileges, roles, replication, settings of the server, code that runs later as somebody else, and
connections to elsewhere are changed outside the gateway: a rule can deny or hold them by their
action, but nothing makes them pass.
"""

from __future__ import annotations

import re

ADMINISTRATOR = "An administrator of the database has to do this outside the gateway."
_PRIVILEGES = (
    "An administrator changes roles and privileges outside the gateway; 'sallyport grants' writes "
    "the script for its role."
)
_REPLICATION = "Replication bypasses masks. An administrator sets it up outside the gateway."
_ELSEWHERE = "This reaches data outside policy. An administrator sets it up outside the gateway."
CODE = (
    "Ask an administrator to review this and to create it outside the gateway. Policy can then "
    "list a function under 'functions'."
)
_ROW_SECURITY = "An administrator changes row security outside the gateway."
_RULES = "An administrator enables and disables rules outside the gateway."
_PLACES = "Leave the tablespace or access method out, or ask an administrator to change it."

#: Parse node -> (action, why not or what instead).
_REFUSED = {
    "AlterCollationStmt": ("alter_collation", ADMINISTRATOR),
    "AlterDatabaseRefreshCollStmt": ("alter_database", ADMINISTRATOR),
    "AlterDatabaseSetStmt": ("alter_database", ADMINISTRATOR),
    "AlterDatabaseStmt": ("alter_database", ADMINISTRATOR),
    "AlterDefaultPrivilegesStmt": ("alter_default_privileges", _PRIVILEGES),
    "AlterEventTrigStmt": ("alter_event_trigger", CODE),
    "AlterExtensionContentsStmt": ("alter_extension", ADMINISTRATOR),
    "AlterExtensionStmt": ("alter_extension", ADMINISTRATOR),
    "AlterFdwStmt": ("alter_foreign_data_wrapper", _ELSEWHERE),
    "AlterForeignServerStmt": ("alter_server", _ELSEWHERE),
    "AlterObjectDependsStmt": ("alter_depends", ADMINISTRATOR),
    "AlterOpFamilyStmt": ("alter_operator_family", CODE),
    "AlterOperatorStmt": ("alter_operator", CODE),
    "AlterOwnerStmt": ("alter_owner", _PRIVILEGES),
    "AlterPolicyStmt": ("alter_policy", _ROW_SECURITY),
    "AlterPublicationStmt": ("alter_publication", _REPLICATION),
    "AlterRoleSetStmt": ("alter_role", _PRIVILEGES),
    "AlterRoleStmt": ("alter_role", _PRIVILEGES),
    "AlterSubscriptionStmt": ("alter_subscription", _REPLICATION),
    "AlterSystemStmt": ("alter_system", ADMINISTRATOR),
    "AlterTSConfigurationStmt": ("alter_text_search_configuration", ADMINISTRATOR),
    "AlterTSDictionaryStmt": ("alter_text_search_dictionary", ADMINISTRATOR),
    "AlterTableMoveAllStmt": ("alter_table", _PLACES),
    "AlterTableSpaceOptionsStmt": ("alter_tablespace", ADMINISTRATOR),
    "AlterTypeStmt": ("alter_type", CODE),
    "AlterUserMappingStmt": ("alter_user_mapping", _ELSEWHERE),
    "CheckPointStmt": ("checkpoint", ADMINISTRATOR),
    "ClusterStmt": (
        "cluster",
        (
            "Use VACUUM or REINDEX. The order of rows after CLUSTER would reveal values of the"
            " index's columns."
        ),
    ),
    "CreateAmStmt": ("create_access_method", CODE),
    "CreateCastStmt": ("create_cast", CODE),
    "CreateConversionStmt": ("create_conversion", CODE),
    "CreateEventTrigStmt": ("create_event_trigger", CODE),
    "CreateFdwStmt": ("create_foreign_data_wrapper", _ELSEWHERE),
    "CreateForeignServerStmt": ("create_server", _ELSEWHERE),
    "CreateForeignTableStmt": ("create_foreign_table", _ELSEWHERE),
    "CreateOpClassStmt": ("create_operator_class", CODE),
    "CreateOpFamilyStmt": ("create_operator_family", CODE),
    "CreatePLangStmt": ("create_language", CODE),
    "CreatePolicyStmt": ("create_policy", _ROW_SECURITY),
    "CreatePublicationStmt": ("create_publication", _REPLICATION),
    "CreateRoleStmt": ("create_role", _PRIVILEGES),
    "CreateSubscriptionStmt": ("create_subscription", _REPLICATION),
    "CreateTableSpaceStmt": ("create_tablespace", ADMINISTRATOR),
    "CreateTransformStmt": ("create_transform", CODE),
    "CreateUserMappingStmt": ("create_user_mapping", _ELSEWHERE),
    "CreatedbStmt": ("create_database", ADMINISTRATOR),
    "DropOwnedStmt": ("drop_owned", _PRIVILEGES),
    "DropRoleStmt": ("drop_role", _PRIVILEGES),
    "DropSubscriptionStmt": ("drop_subscription", _REPLICATION),
    "DropTableSpaceStmt": ("drop_tablespace", ADMINISTRATOR),
    "DropUserMappingStmt": ("drop_user_mapping", _ELSEWHERE),
    "DropdbStmt": ("drop_database", ADMINISTRATOR),
    "GrantRoleStmt": ("grant_role", _PRIVILEGES),
    "GrantStmt": ("grant", _PRIVILEGES),
    "ImportForeignSchemaStmt": ("import_foreign_schema", _ELSEWHERE),
    "LoadStmt": ("load", ADMINISTRATOR),
    "ReassignOwnedStmt": ("reassign_owned", _PRIVILEGES),
    "ReplicaIdentityStmt": ("alter_table", _REPLICATION),
    "RuleStmt": ("create_rule", CODE),
    "SecLabelStmt": ("security_label", _PRIVILEGES),
}

#: ALTER TABLE's subcommands that have no handler.
NOT_ALTERED = {
    "AT_ChangeOwner": _PRIVILEGES,
    "AT_ClusterOn": "Leave CLUSTER ON out: the order of rows would reveal values.",
    "AT_DropCluster": "Leave SET WITHOUT CLUSTER out.",
    "AT_SetAccessMethod": _PLACES,
    "AT_SetTableSpace": _PLACES,
    "AT_EnableRule": _RULES,
    "AT_EnableAlwaysRule": _RULES,
    "AT_EnableReplicaRule": _RULES,
    "AT_DisableRule": _RULES,
    "AT_EnableRowSecurity": _ROW_SECURITY,
    "AT_DisableRowSecurity": _ROW_SECURITY,
    "AT_ForceRowSecurity": _ROW_SECURITY,
    "AT_NoForceRowSecurity": _ROW_SECURITY,
    "AT_ReplicaIdentity": _REPLICATION,
    "AT_GenericOptions": _ELSEWHERE,
    "AT_AlterColumnGenericOptions": _ELSEWHERE,
    "AT_AddOf": "Write the columns instead of OF.",
    "AT_DropOf": "Write the columns instead of OF.",
    "names": "An administrator renames functions, which policy lists by name.",
}


def kind_of(tag: str) -> str:
    """The action that a statement without a handler stands for: CreateExtensionStmt is
    create_extension.
    """
    entry = _REFUSED.get(tag)
    if entry is not None:
        return entry[0]
    words = re.findall("[A-Z][a-z]*", tag.removesuffix("Stmt"))
    return "_".join(words).lower() or "empty"


def hint_of(tag: str) -> str:
    """What to do instead; "" for a statement that nobody thought of."""
    entry = _REFUSED.get(tag)
    return entry[1] if entry is not None else ""
