"""A reviewer who approves whatever waits, and keeps what was shown of it, by target."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx2

from sallyport.wire import backend

#: Of a request, what says what would run and what it would do.
_SHOWN = ("sql", "sent", "binds", "preview", "plan", "touches", "kind")
_PATIENCE = 5.0


class Approver:
    """Works on a thread of its own until :meth:`stop`. ``looks``: also at the preview and the
    sample, for which it waits.
    """

    def __init__(self, console: str, token: str, *, looks: bool = True) -> None:
        self._client = httpx2.Client(
            base_url=f"http://{console}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            trust_env=False,
        )
        self.looks = looks
        self.failed = ""
        self._kept: dict[str, list[bytes]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def take(self, target: str) -> list[bytes]:
        """What was shown of the requests on this target since it was asked last, in order."""
        return self._kept.pop(target, [])

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)
        self._client.close()

    def _work(self) -> None:
        while not self._over.wait(0.01):
            try:
                for request in self._get("/approvals?status=pending")["approvals"]:
                    self._approve(request["id"])
            except httpx2.ConnectError:
                continue  # the console comes a moment after the gateway

    def _get(self, path: str) -> Any:
        answer = self._client.get(path)
        if answer.status_code != 200:
            self.failed = answer.text
            return {"approvals": []}
        return answer.json()

    def _approve(self, id_: str) -> None:
        shown = self._get(f"/approvals/{id_}")
        waited = 0.0
        while self.looks and shown.get("preview") is None and waited < _PATIENCE:
            self._over.wait(0.02)
            waited += 0.02
            shown = self._get(f"/approvals/{id_}")
        sample = self._get(f"/approvals/{id_}/sample") if self.looks else None
        if self.looks:
            if shown["preview"] is not None:
                del shown["preview"]["seconds"]
            text = json.dumps([{k: shown.get(k) for k in _SHOWN}, sample], sort_keys=True)
            self._kept.setdefault(shown["target"], []).append(text.encode())
        answer = self._client.post(
            f"/approvals/{id_}/decision", json={"approve": True, "reason": "attacked"}
        )
        if answer.status_code not in (200, 409):
            self.failed = answer.text


def behind(approver: Approver | None, names: list[str], answers: list[bytes]) -> list[bytes]:
    """Behind each target's answer what its reviewer was shown, for whom the same must hold."""
    if approver is None:
        return answers
    shown = [b"".join(approver.take(name)) for name in names]
    pairs = zip(answers, shown, strict=True)
    return [answer + backend.message(backend.COPY_DATA, text) for answer, text in pairs]
