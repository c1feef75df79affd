"""Secrets in managers, as ``sallyport.yaml`` says it: what is taken, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sallyport.config import Config, load_config
from sallyport.config.secrets import secret_places
from sallyport.core.errors import ConfigError

VAULT = "{vault: {url: 'https://vault.example', auth: {token: {env: VAULT_TOKEN}}}}"


def load(
    folder: Path,
    password: str,
    secrets: str = VAULT,
    more: str = "user: agent",
    rest: str = "",
) -> Config:
    file = folder / "sallyport.yaml"
    file.write_text(
        "identity: {oidc: [{issuer: 'https://idp.example', audience: sallyport}]}\n"
        f"secrets: {secrets}\n"
        "targets:\n  shop:\n    host: db.internal\n    database: shop\n"
        f"    password: {password}\n    {more}\n"
        f"policy: policy.yaml\n{rest}"
    )
    return load_config(file)


@pytest.mark.parametrize(
    ("password", "secrets", "more"),
    [
        ("{vault: {path: team/shop}}", VAULT, "user: agent"),
        ("{vault: {database: shop}}", VAULT, "port: 5432"),
        ("{vault: {static: shop}}", VAULT, "port: 5432"),
        ("{aws: {secret: prod/shop, key: password}}", "{}", "user: agent"),
        ("{aws: {rds_iam: true}}", "{aws: {region: x}}", "user: agent\n    auth: [password]"),
        ("{google: {sql_iam: true}}", "{}", "user: agent\n    auth: [password]"),
        ("{azure: {entra: true}}", "{}", "user: agent\n    auth: [password]"),
        ("{google: {secret: projects/p/secrets/s}}", "{}", "user: agent"),
        ("{azure: {secret: s}}", "{azure: {vault_url: 'https://x.example'}}", "user: agent"),
    ],
)
def test_what_is_taken(tmp_path: Path, password: str, secrets: str, more: str) -> None:
    config = load(tmp_path, password, secrets, more)
    places = dict(secret_places(config))
    assert places["targets.shop.password"] == config.targets["shop"].password


@pytest.mark.parametrize(
    ("password", "secrets", "more", "said"),
    [
        ("{vault: {path: a}}", "{}", "user: agent", "does not say where Vault is"),
        ("{vault: {}}", VAULT, "user: agent", "exactly one of path, database, static"),
        ("{vault: {path: a, static: b}}", VAULT, "user: agent", "exactly one of path"),
        ("{vault: {path: ../sys/raw}}", VAULT, "user: agent", "not a path in Vault"),
        ("{vault: {path: a, mount: x//y}}", VAULT, "user: agent", "not a path in Vault"),
        ("{vault: {database: a}}", VAULT, "user: agent", "Vault names the role"),
        ("{vault: {path: a}}", VAULT, "port: 5432", r"targets\.shop\.user: the value is empty"),
        ("{vault: {path: a}, env: B}", VAULT, "user: agent", "exactly one of env, file"),
        ("{aws: {rds_iam: true}}", "{}", "user: agent", "asks for a token as a password"),
        (
            "{google: {sql_iam: true}}",
            "{}",
            "user: agent\n    tls: require\n    auth: [password]",
            "a server that is known",
        ),
        ("{azure: {secret: s}}", "{}", "user: agent", "which Key Vault"),
        ("{env: A}", "{vault: {url: 'http://vault.example', auth: {}}}", "user: a", "not https"),
        ("{env: A}", "{vault: {url: 'https://v.example', auth: {}}}", "user: a", "one of token"),
        (
            "{env: A}",
            "{vault: {url: 'https://v.example', auth: {token: {vault: {path: a}}}}}",
            "user: a",
            "must be on this machine",
        ),
    ],
)
def test_errors(tmp_path: Path, password: str, secrets: str, more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, password, secrets, more)


def test_only_logins_at_databases_are_made_for_the_gateway(tmp_path: Path) -> None:
    keys = "mask_keys: {default: {vault: {path: keys/mask}}}\n"
    config = load(tmp_path, "{env: A}", rest=keys)
    assert {"mask_keys.default", "targets.shop.password"} < set(dict(secret_places(config)))
    with pytest.raises(ConfigError, match="which this is not"):
        load(tmp_path, "{env: A}", rest=keys.replace("path: keys/mask", "database: shop"))
    admin = "user: a\n    credential: ephemeral\n    admin: "
    admin += "{user: b, password: {vault: {static: x}}}"
    with pytest.raises(ConfigError, match="one that stays"):
        load(tmp_path, "{env: A}", more=admin)
