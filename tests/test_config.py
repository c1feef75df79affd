"""sallyport.yaml: what is accepted, and that everything wrong is said with its line and a
way out.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from sallyport.config import SECTIONS, Config, SecretRef, load_config
from sallyport.core.address import Address, parse_address
from sallyport.core.errors import ConfigError

#: The example of the documentation, but for the certificate files.
EXAMPLE = """listen: 127.0.0.1:6432
console: {listen: 127.0.0.1:8642}
data: ./var
identity:
  oidc:
    - issuer: https://idp.example.com
      audience: sallyport
      claims: {groups: groups}
targets:
  shop:
    host: db.internal
    port: 5432
    database: shop
    user: sallyport_agent
    password: {env: SHOP_PASSWORD}
    tls: verify-full
policy: policy.yaml
"""


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "sallyport.yaml"
    path.write_text(text)
    return load_config(path)


def test_the_example(tmp_path: Path) -> None:
    config = load(tmp_path, EXAMPLE)
    assert config.address == Address("127.0.0.1", 6432)
    assert config.console_address == Address("127.0.0.1", 8642)
    assert config.policy_path == tmp_path / "policy.yaml"
    assert config.data_directory == tmp_path / "var"
    assert config.recording_directory == tmp_path / "var" / "recordings"
    assert config.targets["shop"].password == SecretRef(env="SHOP_PASSWORD")
    assert config.targets["shop"].auth == ("scram-sha-256",)
    assert config.tls is None


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    for name in ("tls.crt", "tls.key", "ca.pem"):
        (tmp_path / name).touch(mode=0o600)
    text = EXAMPLE.replace(
        "listen: 127.0.0.1:6432", "listen: 0.0.0.0:6432\ntls: {certificate: tls.crt, key: tls.key}"
    )
    text = text.replace("{env: SHOP_PASSWORD}", "{file: secrets/shop}").replace(
        "verify-full", "verify-full\n    ca: ca.pem"
    )
    text += "mask_keys: {default: {file: secrets/hash}}\nrecording: {directory: rec}\n"
    config = load(tmp_path, text)
    assert config.tls is not None
    assert config.tls.certificate == str(tmp_path / "tls.crt")
    assert config.tls.direct
    assert config.targets["shop"].ca == str(tmp_path / "ca.pem")
    assert config.targets["shop"].password == SecretRef(file=str(tmp_path / "secrets/shop"))
    assert config.mask_keys == {"default": SecretRef(file=str(tmp_path / "secrets/hash"))}
    assert config.recording_directory == tmp_path / "rec"


def test_no_secret_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
    assert "hunter2" not in repr(load(tmp_path, EXAMPLE))


ERRORS = [
    # replace, by, line, what it must say, what to do
    (
        "listen: 127.0.0.1:6432",
        "lisen: 127.0.0.1:6432",
        1,
        "lisen: unknown key",
        "Did you mean 'listen'?",
    ),
    (
        "127.0.0.1:6432",
        "0.0.0.0:6432",
        1,
        "not a loopback address and there is no TLS",
        "Add 'tls:",
    ),
    (
        "127.0.0.1:6432",
        "gateway:6432",
        1,
        "not a loopback address and there is no TLS",
        "127.0.0.1",
    ),
    ("127.0.0.1:6432", "127.0.0.1", 1, "is not an address", "host:port"),
    ("127.0.0.1:6432", "127.0.0.1:70000", 1, "is not an address", "host:port"),
    ("127.0.0.1:6432", "::1:6432", 1, "is ambiguous", "[::1]:6432"),
    ("127.0.0.1:6432", "127.0.0.1:6432\nworkers: many", 2, "not known", "auto, or a whole number"),
    (
        "127.0.0.1:6432",
        "127.0.0.1:6432\ntls: {certificate: no.crt, key: no.key}",
        2,
        "there is no file",
        "relative",
    ),
    (
        "127.0.0.1:8642",
        "10.0.0.1:8642",
        2,
        "console.listen: 10.0.0.1:8642 is not a loopback",
        "Add 'tls:",
    ),
    (
        "data: ./var",
        "data: ./var\ndata: ./x",
        4,
        "'data' is listed twice (first on line 3)",
        "Remove one",
    ),
    ("data: ./var", "data: 7", 3, "a text is expected here, not a whole number", ""),
    ("https://idp.example.com", "http://idp.example.com", 6, "is not https", "Write https://"),
    ("https://idp.example.com", "idp.example.com", 6, "is not a usable URL", "Write https://host"),
    (
        "claims: {groups: groups}",
        "claim: {groups: groups}",
        8,
        "unknown key",
        "Did you mean 'claims'?",
    ),
    (
        "claims: {groups: groups}",
        "claims: {groups: ''}",
        8,
        "the value is empty",
        "Write the claim",
    ),
    ("claims: {groups: groups}", "algorithms: [HS256]", 8, "'HS256' is not known", ""),
    ("claims: {groups: groups}", "algorithms: [none]", 8, "'none' is not known", ""),
    ("claims: {groups: groups}", "clock_skew: 900", 8, "must be 0 to 300 seconds", "30 is usual"),
    ("claims: {groups: groups}", "ca: no.pem", 8, "there is no file", "Check the path"),
    (
        "      claims: {groups: groups}",
        "    - {issuer: 'https://idp.example.com', audience: a}",
        8,
        "is listed twice",
        "Remove",
    ),
    ("      audience: sallyport\n", "", 6, "the key 'audience' is missing", "Add it"),
    ("    host: db.internal\n", "", 10, "the key 'host' is missing", "Add it"),
    (
        "port: 5432",
        "port: '5432'",
        12,
        "targets.shop.port: a whole number is expected here, not a text",
        "",
    ),
    ("port: 5432", "port: 0", 12, "0 is not a port", "5432 is usual"),
    (
        "database: shop",
        "databse: shop",
        13,
        "targets.shop.databse: unknown key",
        "Did you mean 'database'?",
    ),
    (
        "{env: SHOP_PASSWORD}",
        "hunter2",
        15,
        "a mapping (key: value) is expected here, not a text",
        "",
    ),
    ("{env: SHOP_PASSWORD}", "{value: x}", 15, "unknown key", "Known keys: aws, azure, command"),
    (
        "{env: SHOP_PASSWORD}",
        "{env: A, file: b}",
        15,
        "exactly one of env, file, command, vault",
        "Write {env: NAME}",
    ),
    ("{env: SHOP_PASSWORD}", "{}", 15, "exactly one of env, file, command", "Write {env: NAME}"),
    ("tls: verify-full", "tls: prefer", 16, "'prefer' is not known", ""),
    ("tls: verify-full", "tls: off", 16, "'off' is not known", ""),
    ("tls: verify-full", "ca: no.pem", 16, "there is no file", "Check the path"),
    ("tls: verify-full", "auth: []", 16, "the list is empty", "Name at least one"),
    (
        "tls: verify-full",
        "{tls: disable}".strip("{}") + "\n    channel_binding: require",
        17,
        "needs TLS",
        "verify-full",
    ),
    (
        "tls: verify-full",
        "tls: disable\n    auth: [password]",
        17,
        "would cross the network in clear",
        "verify-full",
    ),
    (
        "host: db.internal",
        "host: /run/postgresql",
        16,
        "a Unix socket has no TLS",
        "Write 'tls: disable'",
    ),
    ("  shop:", "  'sh op':", 10, "is not usable as a database name", "Use letters"),
    ("policy: policy.yaml\n", "", 1, "the key 'policy' is missing", "Add it"),
    ("policy.yaml", "''", 17, "the path is empty", "policy.yaml"),
    (
        "policy.yaml",
        "p\nlimits: {login_seconds: 0}",
        18,
        "limits.login_seconds: 0.0 is not usable",
        "positive",
    ),
    (
        "policy.yaml",
        "p\nlimits:\n  max_sesions: 1",
        19,
        "unknown key",
        "Did you mean 'max_sessions'?",
    ),
    (
        "policy.yaml",
        "p\nlimits: {max_message_bytes: 2000000000}",
        18,
        "own bound is 1 GB",
        "1073741823",
    ),
    (
        "policy.yaml",
        "p\nstore: {host: DB.internal, port: 5432, database: shop, user: s, tls: verify-full,"
        " key: {env: K}}",
        13,
        "this database is the store",
        "database and a user of its own",
    ),
    ("policy.yaml", "p\nlog: {level: loud}", 18, "'loud' is not known", ""),
    (
        "policy.yaml",
        "p\nmask_keys:\n  k: {envv: A}",
        19,
        "mask_keys.k.envv: unknown key",
        "Did you mean 'env'?",
    ),
    (
        "policy.yaml",
        "p\nmask_keys: [a]",
        18,
        "a mapping (key: value) is expected here, not a list",
        "",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "what", "fix"), ERRORS, ids=[e[1][:30] or e[0][:30] for e in ERRORS]
)
def test_errors_point_at_the_line(
    tmp_path: Path, old: str, new: str, line: int, what: str, fix: str
) -> None:
    assert old in EXAMPLE
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, EXAMPLE.replace(old, new, 1))
    message = str(caught.value)
    assert re.match(rf"{re.escape(str(tmp_path / 'sallyport.yaml'))}:{line}:[1-9]\d*: ", message), (
        message
    )
    assert what in message
    assert fix in message


@pytest.mark.parametrize(
    ("cut", "line", "what"),
    [
        (
            EXAMPLE[EXAMPLE.index("identity:") : EXAMPLE.index("targets:")],
            1,
            "the key 'identity' is missing",
        ),
        (
            EXAMPLE[EXAMPLE.index("targets:") : EXAMPLE.index("policy:")],
            1,
            "at least one target is needed",
        ),
        (
            EXAMPLE[EXAMPLE.index("    - issuer") : EXAMPLE.index("targets:")],
            5,
            "a list ([a, b]) is expected here, but there is nothing",
        ),
    ],
)
def test_missing_sections(tmp_path: Path, cut: str, line: int, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, EXAMPLE.replace(cut, ""))
    assert f".yaml:{line}:" in str(caught.value)
    assert what in str(caught.value)


def test_nobody_could_log_in(tmp_path: Path) -> None:
    text = EXAMPLE[: EXAMPLE.index("    - issuer")] + EXAMPLE[EXAMPLE.index("targets:") :]
    with pytest.raises(
        ConfigError, match=r"yaml:5:3: identity\.oidc: without an issuer nobody can log in"
    ):
        load(tmp_path, text.replace("  oidc:\n", "  oidc: []\n"))


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0), True),
        ("[::1]:6432", Address("::1", 6432), True),
        ("localhost:1", Address("localhost", 1), True),
        ("[::]:1", Address("::", 1), False),
        ("db:1", Address("db", 1), False),
        ("127.0.0.1.example.com:1", Address("127.0.0.1.example.com", 1), False),
    ],
)
def test_addresses(text: str, address: Address, loopback: bool) -> None:
    assert parse_address(text) == address
    assert address.is_loopback is loopback
    assert str(address) == text


def test_a_config_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        load(tmp_path, EXAMPLE).listen = "x"  # type: ignore[misc]


def test_every_key_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    for section, struct in SECTIONS.items():
        for field in msgspec.structs.fields(struct):
            key = f"{section}.{field.encode_name}" if section else field.encode_name
            assert f"`{key}`" in text, f"docs/configuration.md does not describe {key}"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            "    credential: ephemeral\n",
            r"targets\.shop\.credential: 'ephemeral' needs an administrator",
        ),
        ("    admin: {user: boss}\n", r"targets\.shop\.admin: nothing uses it"),
        (
            "    credential: ephemeral\n    admin: {user: sallyport_agent}\n",
            "the same role as 'user'",
        ),
        (
            "    credential: ephemeral\n    admin: {user: boss}\n    auth: [trust]\n",
            "with scram-sha-256",
        ),
        ("    credential: sometimes\n", "credential"),
    ],
)
def test_a_credential_that_cannot_be(tmp_path: Path, keys: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, EXAMPLE.replace("policy: policy.yaml", keys + "policy: policy.yaml"))


def test_the_administrators_secret_is_relative_to_the_file(tmp_path: Path) -> None:
    keys = "    credential: ephemeral\n    admin: {user: boss, password: {file: boss}}\n"
    admin = (
        load(tmp_path, EXAMPLE.replace("policy: policy.yaml", keys + "policy: policy.yaml"))
        .targets["shop"]
        .admin
    )
    assert admin is not None
    assert admin.password == SecretRef(file=str(tmp_path / "boss"))


def test_the_short_forms_of_claims(tmp_path: Path) -> None:
    text = EXAMPLE.replace(
        "claims: {groups: groups}", "groups_claim: roles\n      agent_claim: cid"
    )
    (issuer,) = load(tmp_path, text).identity.oidc
    assert (issuer.claims.groups, issuer.claims.agent) == ("roles", "cid")
    with pytest.raises(ConfigError, match="say the same thing twice"):
        load(tmp_path, text.replace("agent_claim: cid", "claims: {groups: x}"))
