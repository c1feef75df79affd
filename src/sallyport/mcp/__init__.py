"""The entrance for MCP clients (Model Context Protocol, 2026-07-28 and the ``initialize`` era).

It is a client of the gateway, with no rights of its own: every statement goes over the PostgreSQL
wire protocol (:mod:`sallyport.mcp.wire_session`) to the gateway's own way in, with the caller's
token. So the judge, masks, holds, limits, locks and the recording of an MCP session are those of
the wire by construction. The package ``mcp`` is imported late: it takes a second or two.
"""
