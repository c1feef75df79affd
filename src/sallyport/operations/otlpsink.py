"""OpenTelemetry receivers of the record: OTLP over HTTP, in JSON
(opentelemetry.io/docs/specs/otlp/#otlphttp).

Log records go to ``<url>/v1/logs``, then spans to ``<url>/v1/traces``; a batch is taken once both
were answered by 2xx. What a receiver refuses for good (400, or a partial success) is written down
as refused: of a partial success it does not say which, so the batch is named as a whole.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from typing import Any

import httpx2
import msgspec

import sallyport
from sallyport.core.secret import Secret
from sallyport.operations.auditotlp import ExportAnswer, is_sampled
from sallyport.operations.streamsinks import REFUSES_CONTENT, TIMEOUT, Entry, SinkError


class OtlpSink:
    """``sample``: the share of sessions whose allowed statements are sent, from 0 to 1. ``token``:
    a bearer token.
    """

    repeats_last = False

    def __init__(
        self, url: str, sample: float, token: Secret | None, context: ssl.SSLContext
    ) -> None:
        self._url, self._sample, self._context = url.rstrip("/"), sample, context
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token.reveal()}"
        self._client: httpx2.Client | None = None

    def send(self, batch: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """As :meth:`~sallyport.operations.streamsinks.Sink.send`."""
        made = [(entry, json.loads(entry.line)) for entry in batch]
        return self._send([(e, m) for e, m in made if is_sampled(m, self._sample)])

    def _send(self, made: Sequence[tuple[Entry, dict[str, Any]]]) -> list[tuple[Entry, str]]:
        if not made:
            return []
        logs = [each["log"] for _, each in made]
        spans = [each["span"] for _, each in made if each["span"] is not None]
        problem = self._post("logs", _request("Logs", "logRecords", logs))
        if not problem and spans:
            problem = self._post("traces", _request("Spans", "spans", spans))
        if not problem:
            return []
        if len(made) == 1:
            return [(made[0][0], problem)]
        middle = len(made) // 2
        return self._send(made[:middle]) + self._send(made[middle:])

    def _post(self, signal: str, body: dict[str, Any]) -> str:
        """Why the receiver refuses it for good; "". Raises SinkError."""
        url = f"{self._url}/v1/{signal}"
        if self._client is None:
            self._client = httpx2.Client(
                verify=self._context, trust_env=False, timeout=TIMEOUT, follow_redirects=False
            )
        try:
            answer = self._client.post(url, content=json.dumps(body), headers=self._headers)
        except (httpx2.HTTPError, OSError) as error:
            self.close()
            raise SinkError(f"{url}: {str(error) or type(error).__name__}") from None
        if answer.status_code in REFUSES_CONTENT:
            return f"HTTP {answer.status_code}: {answer.text[:300]}"
        if not answer.is_success:
            raise SinkError(f"{url} answered {answer.status_code}: {answer.text[:300]}")
        try:
            partial = msgspec.json.decode(answer.content or b"{}", type=ExportAnswer)
            rejected = partial.partial_success.rejected if partial.partial_success else 0
        except (msgspec.DecodeError, ValueError):
            raise SinkError(f"{url} did not answer as OTLP does") from None
        if rejected and partial.partial_success:
            return f"{rejected} refused: {partial.partial_success.error_message[:300]}"
        return ""

    def close(self) -> None:
        """As :meth:`~sallyport.operations.streamsinks.Sink.close`."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _request(signal: str, items: str, values: list[dict[str, Any]]) -> dict[str, Any]:
    """ExportLogsServiceRequest, ExportTraceServiceRequest."""
    name = {"key": "service.name", "value": {"stringValue": "sallyport"}}
    version = {"key": "service.version", "value": {"stringValue": sallyport.__version__}}
    scope = {"name": "sallyport", "version": sallyport.__version__}
    return {
        f"resource{signal}": [
            {
                "resource": {"attributes": [name, version]},
                f"scope{signal}": [{"scope": scope, items: values}],
            }
        ]
    }
