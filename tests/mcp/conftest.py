"""A gateway with both of MCP's entrances: over the wire, and ``/mcp`` beside the console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.support.approvals import CLIENTS, Desk, make_tables
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server, start_server

#: The shop's policy, and changes that wait for a person.
POLICY = SHOP_POLICY.replace(
    "masks:\n",
    """\
  - name: agents read and write what waits
    subjects: {groups: [claude-postgres]}
    targets: [shop]
    allow: [select, insert]
    relations: ["public.waits"]
  - name: it waits
    subjects: {groups: [claude-postgres]}
    targets: [shop]
    hold: [delete]
    relations: ["public.waits"]
    reviewers: {groups: [dba]}
  - name: agents read the stock
    subjects: {groups: [claude-postgres]}
    targets: [stock]
    allow: [read]
    relations: ["public.products"]
masks:
""",
)


@pytest.fixture(scope="module")
def mcp_issuer() -> Iterator[DevIssuer]:
    with DevIssuer(clients=CLIENTS) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def mcp_postgres() -> Iterator[Server]:
    server = start_server()
    make_tables(server)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def mcp_gateway(mcp_issuer: DevIssuer, mcp_postgres: Server) -> Iterator[Gateway]:
    console = {
        "listen": f"127.0.0.1:{free_port()}",
        "roles": {"reviewer": ["dba"], "operator": ["dba"]},
    }
    oidc = {"issuer": mcp_issuer.url, "audience": mcp_issuer.audience, "clock_skew": 0}
    extra = {"console": console, "mcp": {}, "identity": {"oidc": [oidc]}}
    targets = {"shop": mcp_postgres, "stock": mcp_postgres}
    gateway = Gateway(mcp_issuer, targets, POLICY, extra=extra).start()
    Desk(gateway)  # the console listens
    yield gateway
    gateway.stop()
