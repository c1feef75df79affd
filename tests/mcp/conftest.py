"""A gateway with both of MCP's entrances: over the wire, and ``/mcp`` beside the console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from tests.support.approvals import CLIENTS, Desk
from tests.support.gateway import SHOP_POLICY, Gateway
from tests.support.postgres import Server

#: What the shop's policy has, and a change that waits for a person.
POLICY = SHOP_POLICY.replace(
    "masks:\n",
    """\
  - name: stock changes wait
    subjects: {groups: [claude-postgres]}
    targets: [shop]
    hold: [delete]
    relations: ["public.order_items"]
    reviewers: {groups: [dba]}
  - name: agents read the books
    subjects: {groups: [claude-postgres]}
    targets: [books]
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
def mcp_gateway(mcp_issuer: DevIssuer, postgres: Server) -> Iterator[Gateway]:
    console = {
        "listen": f"127.0.0.1:{free_port()}",
        "roles": {"reviewer": ["dba"], "operator": ["dba"], "auditor": ["dba"]},
    }
    extra = {"console": console, "mcp": {}}
    targets = {"shop": postgres, "books": postgres}
    gateway = Gateway(mcp_issuer, targets, POLICY, extra=extra).start()
    Desk(gateway)  # the console listens
    yield gateway
    gateway.stop()
