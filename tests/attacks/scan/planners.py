"""Planner settings under which every shape is planned and run: each turns the server to other
nodes. An agent may set them unless the gateway pins them; then the statement runs as it is.
"""

from __future__ import annotations

_ONE = ("SET max_parallel_workers_per_gather = 0",)
#: Name to statements.
SETTINGS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "little memory": (*_ONE, "SET work_mem = '64kB'"),
    "no hash": (*_ONE, "SET enable_hashjoin = off", "SET enable_hashagg = off"),
    "no merge, no sort": (
        *_ONE,
        "SET enable_mergejoin = off",
        "SET enable_sort = off",
        "SET work_mem = '64kB'",
    ),
    "only nested loops": (
        *_ONE,
        "SET enable_hashjoin = off",
        "SET enable_mergejoin = off",
        "SET enable_material = off",
    ),
    "only merge joins": (
        *_ONE,
        "SET enable_hashjoin = off",
        "SET enable_nestloop = off",
        "SET work_mem = '64kB'",
    ),
    "only hash joins": (
        *_ONE,
        "SET enable_mergejoin = off",
        "SET enable_nestloop = off",
        "SET work_mem = '64kB'",
        "SET join_collapse_limit = 1",
    ),
    "no sequential scans": (*_ONE, "SET enable_seqscan = off", "SET enable_bitmapscan = off"),
    "only bitmaps": (
        *_ONE,
        "SET enable_seqscan = off",
        "SET enable_indexscan = off",
        "SET enable_indexonlyscan = off",
    ),
    "no memoize": (
        *_ONE,
        "SET enable_memoize = off",
        "SET enable_hashjoin = off",
        "SET enable_mergejoin = off",
    ),
    "as written": (
        *_ONE,
        "SET join_collapse_limit = 1",
        "SET from_collapse_limit = 1",
        "SET work_mem = '64kB'",
    ),
    "constraints": (*_ONE, "SET constraint_exclusion = on", "SET enable_partition_pruning = off"),
    "partitionwise": (
        *_ONE,
        "SET enable_partitionwise_join = on",
        "SET enable_partitionwise_aggregate = on",
        "SET constraint_exclusion = off",
    ),
    "sorted groups": (
        *_ONE,
        "SET enable_hashagg = off",
        "SET enable_incremental_sort = off",
        "SET work_mem = '64kB'",
    ),
    "cheap random reads": (
        *_ONE,
        "SET random_page_cost = 0.1",
        "SET cpu_operator_cost = 1",
        "SET cpu_tuple_cost = 0",
    ),
    "genetic": (*_ONE, "SET geqo_threshold = 2", "SET geqo_seed = 0.3"),
}
#: Only for plans: the order of rows is not the plan's alone.
PARALLEL: dict[str, tuple[str, ...]] = {
    "parallel": (
        "SET max_parallel_workers_per_gather = 4",
        "SET parallel_setup_cost = 0",
        "SET parallel_tuple_cost = 0",
        "SET min_parallel_table_scan_size = 0",
        "SET min_parallel_index_scan_size = 0",
        "SET parallel_leader_participation = off",
    ),
    "parallel, hash only": (
        "SET max_parallel_workers_per_gather = 4",
        "SET parallel_setup_cost = 0",
        "SET parallel_tuple_cost = 0",
        "SET min_parallel_table_scan_size = 0",
        "SET enable_mergejoin = off",
        "SET enable_nestloop = off",
        "SET work_mem = '64kB'",
    ),
    "parallel, sorted": (
        "SET max_parallel_workers_per_gather = 4",
        "SET parallel_setup_cost = 0",
        "SET parallel_tuple_cost = 0",
        "SET min_parallel_table_scan_size = 0",
        "SET enable_hashjoin = off",
        "SET enable_hashagg = off",
    ),
}
#: Only for plans, of prepared statements.
GENERIC: dict[str, tuple[str, ...]] = {
    "generic plan": ("SET plan_cache_mode = force_generic_plan",),
    "generic plan, little memory": (
        "SET plan_cache_mode = force_generic_plan",
        "SET work_mem = '64kB'",
        "SET enable_hashjoin = off",
    ),
}
