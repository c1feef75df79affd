"""Worker processes of one gateway: the messages between them, and the supervisor that relays them
(docs/adr/0013-workers.md). Nothing here speaks PostgreSQL.
"""
