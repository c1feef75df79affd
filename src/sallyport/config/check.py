"""What every section of the configuration is checked with: errors with their line, paths, URLs."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from sallyport.core.address import is_loopback
from sallyport.core.errors import ConfigError
from sallyport.core.yamltext import Document, YamlPath


class Check:
    """A document being checked. Relative paths in it are taken from ``base``."""

    def __init__(self, document: Document, base: Path) -> None:
        self.document, self.base = document, base

    def error(self, path: YamlPath, what: str, fix: str) -> ConfigError:
        """To be raised: says where ``path`` stands, ``what`` is wrong and how to ``fix`` it."""
        return self.document.error(path, what, fix)

    def absolute(self, path: str) -> str:
        """Symbolic links stay: policies and secrets are replaced by changing where one leads."""
        return os.path.abspath(self.base / Path(path).expanduser())

    def readable(self, path: YamlPath, name: str) -> None:
        if not Path(self.absolute(name)).is_file():
            raise self.error(
                path,
                f"there is no file {self.absolute(name)}",
                "Check the path; it is relative to this file",
            )

    def url(self, path: YamlPath, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.username is not None or parts.scheme not in ("https", "http"):
            raise self.error(path, f"{url!r} is not a usable URL", "Write https://host/...")
        if parts.scheme == "http" and not is_loopback(host):
            raise self.error(
                path,
                f"{url!r} is not https, so its keys could be forged on the way",
                "Write https://",
            )
