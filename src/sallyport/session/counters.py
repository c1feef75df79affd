"""What a session did so far, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sallyport.core.errors import Refusal


@dataclass(slots=True)
class Counters:
    """For the session index and metrics."""

    statements: int = 0
    refused: int = 0
    held: int = 0  # refused because nobody could be asked, or sent for approval
    waited: int = 0  # kept waiting for approval
    rows: int = 0
    bytes: int = 0
    codes: dict[str, int] = field(default_factory=dict)  # refusals by code

    def count_refusal(self, refusal: Refusal) -> None:
        code = refusal.code.id
        self.codes[code] = self.codes.get(code, 0) + 1
        if code in ("SP1003", "SP1406"):
            self.held += 1
        else:
            self.refused += 1

    def add(self, counters: Counters) -> None:
        self.statements += counters.statements
        self.refused += counters.refused
        self.held += counters.held
        self.waited += counters.waited
        self.rows += counters.rows
        self.bytes += counters.bytes
        for code, count in counters.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count

    def copy(self) -> Counters:
        return replace(self, codes=dict(self.codes))
