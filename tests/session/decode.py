"""Messages as people read them: one line each, type and fields. For diffs in failing tests."""

from __future__ import annotations

from typing import Any

from sallyport.core.errors import ProtocolError
from sallyport.wire import backend, frontend
from sallyport.wire.frames import split

_FRONT: dict[int, Any] = {
    frontend.QUERY: frontend.parse_query,
    frontend.PARSE: frontend.parse_parse,
    frontend.BIND: frontend.parse_bind,
    frontend.DESCRIBE: frontend.parse_describe,
    frontend.EXECUTE: frontend.parse_execute,
    frontend.CLOSE: frontend.parse_close,
    frontend.COPY_DATA: frontend.parse_copy_data,
    frontend.COPY_FAIL: frontend.parse_copy_fail,
}
_BACK: dict[int, Any] = {
    backend.COMMAND_COMPLETE: backend.parse_command_complete,
    backend.ERROR_RESPONSE: backend.parse_error_fields,
    backend.NOTICE_RESPONSE: backend.parse_error_fields,
    backend.READY_FOR_QUERY: backend.parse_ready,
    backend.PARAMETER_STATUS: backend.parse_parameter_status,
    backend.NOTIFICATION_RESPONSE: backend.parse_notification,
    backend.ROW_DESCRIPTION: backend.parse_row_description,
    backend.PARAMETER_DESCRIPTION: backend.parse_parameter_description,
    backend.COPY_IN_RESPONSE: backend.parse_copy_response,
    backend.COPY_OUT_RESPONSE: backend.parse_copy_response,
    backend.COPY_DATA: lambda body: body,
}


def messages(data: bytes) -> list[bytes]:
    """Whole messages; what is incomplete at the end comes last, as it is."""
    spans, rest = split(data, 0, 1 << 30, False)
    complete = [bytes(data[start:end]) for _, start, end, _ in spans]
    return [*complete, bytes(data[rest:])] if rest < len(data) else complete


def row(body: bytes) -> list[bytes | None]:
    """The cells of a DataRow's body."""
    values: list[bytes | None] = []
    position = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        size = int.from_bytes(body[position : position + 4], "big", signed=True)
        position += 4
        values.append(None if size < 0 else body[position : position + size])
        position += max(size, 0)
    return values


def show(message: bytes, *, from_client: bool) -> str:
    kind, body = message[0], message[5:]
    message_type = (frontend.MESSAGES if from_client else backend.MESSAGES).get(kind)
    name = message_type.name if message_type is not None else f"0x{kind:02x}"
    if not from_client and kind == backend.DATA_ROW:
        return f"DataRow{row(body)}"
    parser = (_FRONT if from_client else _BACK).get(kind)
    if parser is None or len(message) < 5:
        return f"{name}({body!r})" if body else name
    try:
        fields = parser(body)
    except ProtocolError as error:
        return f"{name}(malformed: {error}: {body!r})"
    text = repr(fields)
    return text if text.startswith(name) else f"{name}({text})"
