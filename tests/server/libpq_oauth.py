"""Connects with libpq 18 (psycopg's wheel has one) and a hook in place of its device flow; prints
what came of it as JSON.

Arguments: connection string, token. A program of its own, since the hook is the process's.
Structures: libpq-fe.h of PostgreSQL 18.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import sys

import psycopg

_BEARER_TOKEN = 1  # PQAUTHDATA_OAUTH_BEARER_TOKEN


class BearerRequest(ctypes.Structure):
    _fields_ = (
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("run", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    )


def main(dsn: str, token: str) -> None:
    libraries = os.path.join(
        os.path.dirname(os.path.dirname(psycopg.__file__)), "psycopg_binary.libs"
    )
    (path,) = glob.glob(os.path.join(libraries, "libpq-*"))
    psycopg.pq.version()  # loads what libpq needs
    libpq = ctypes.CDLL(path)
    asked: list[dict[str, str]] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def hook(kind: int, connection: int, data: int) -> int:
        if kind != _BEARER_TOKEN:
            return 0
        request = ctypes.cast(data, ctypes.POINTER(BearerRequest)).contents
        asked.append(
            {
                "configuration": request.openid_configuration.decode(),
                "scope": (request.scope or b"").decode(),
            }
        )
        request.token = token.encode()
        return 1

    libpq.PQsetAuthDataHook(hook)
    libpq.PQconnectdb.restype = libpq.PQexec.restype = ctypes.c_void_p
    libpq.PQerrorMessage.restype = libpq.PQgetvalue.restype = ctypes.c_char_p
    connection = ctypes.c_void_p(libpq.PQconnectdb(dsn.encode()))
    ok = libpq.PQstatus(connection) == 0
    value = ""
    if ok:
        result = ctypes.c_void_p(libpq.PQexec(connection, b"SELECT 'let' || ' in'"))
        value = libpq.PQgetvalue(result, 0, 0).decode()
    said = libpq.PQerrorMessage(connection).decode()
    libpq.PQfinish(connection)
    print(
        json.dumps(
            {
                "ok": ok,
                "value": value,
                "error": said,
                "asked": asked,
                "version": libpq.PQlibVersion(),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
