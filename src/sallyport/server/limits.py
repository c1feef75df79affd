"""Bounds of the gateway, as the configuration gives them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Bounds of the gateway. Seconds, bytes and counts; see docs/configuration.md."""

    login_seconds: float = 30.0
    max_logins: int = 1000
    max_logins_per_address: int = 500
    max_sessions: int = 500
    max_sessions_here: int = 1 << 31  # in this process
    max_sessions_per_subject: int = 50
    max_message_bytes: int = 64 << 20
    max_row_bytes: int = 16 << 20
    session_seconds: float = 0.0
    expiry_grace_seconds: float = 60.0
    idle_seconds: float = 0.0
    held_in_transaction_seconds: float = 60.0
    held_reminder_seconds: float = 60.0
    recorder_backlog_bytes: int = 64 << 20
    session_backlog_bytes: int = 8 << 20
