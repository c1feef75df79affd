"""``sallyport.yaml``: typed settings, validated once, passed down.

:func:`load_config` gives a frozen :class:`Config` or raises ConfigError, whose text names file,
line, what is wrong and what to do. Paths in the file are relative to the file; here they are
absolute. Secrets stay references (:class:`SecretRef`): nothing here reads one.
"""

from sallyport.config.identity import OidcIssuer
from sallyport.config.load import load_config
from sallyport.config.model import (
    SECTIONS,
    ApprovalSettings,
    Config,
    Console,
    WatchSettings,
)
from sallyport.config.secrets import SecretRef

__all__ = [
    "SECTIONS",
    "ApprovalSettings",
    "Config",
    "Console",
    "OidcIssuer",
    "SecretRef",
    "WatchSettings",
    "load_config",
]
