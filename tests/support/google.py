"""Credentials of a Google service account whose tokens a double gives."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def service_account(directory: Path, url: str) -> Path:
    """The file for ``GOOGLE_APPLICATION_CREDENTIALS``. ``url``: of the double, which answers
    ``/token``.
    """
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "client_email": "gateway@my-project.iam.gserviceaccount.com",
        "private_key": key.decode(),
        "token_uri": f"{url}/token",
    }
    file = directory / "account.json"
    file.write_text(json.dumps(account))
    return file
