"""Where the keys of recordings come from, and what is said when they do not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sallyport.audit.keys import KeyRing, local_key, new_key_text
from sallyport.config import load_config
from sallyport.core.errors import ConfigError
from sallyport.operations.recordingkeys import KeySettings, key_settings, load_keys, unlisted_key
from sallyport.targets.credentials import Reference
from tests.audit.test_encryption import record
from tests.support.forked import SALLYPORT, run

CONFIG = """
identity: {oidc: [{issuer: "https://idp.example.com", audience: sallyport}]}
targets: {shop: {host: 127.0.0.1, database: shop, user: agent, tls: disable}}
policy: policy.yaml
recording: {encryption: %s}
"""


def load(settings: KeySettings, *, make: bool = True) -> KeyRing:
    return asyncio.run(load_keys(settings, settings.data / "recordings", make=make))


def key_in(path: Path) -> str:
    """Write a key; its identifier."""
    path.write_text(new_key_text())
    path.chmod(0o600)
    return local_key(path.read_text(), "test").identifier


def test_a_key_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "recording.key"
    assert load(KeySettings(tmp_path), make=False).current is None
    assert not file.exists()
    made = load(KeySettings(tmp_path)).current
    assert made is not None
    assert file.stat().st_mode & 0o777 == 0o600
    again = load(KeySettings(tmp_path)).current
    assert again is not None and again.identifier == made.identifier


def test_a_key_that_recordings_need_is_not_made_anew(tmp_path: Path) -> None:
    record(tmp_path)
    with pytest.raises(ConfigError, match="is missing, and recordings are encrypted under it"):
        load(KeySettings(tmp_path))
    assert not (tmp_path / "recording.key").exists()


def test_keys_from_a_variable_a_file_and_a_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identifier = key_in(tmp_path / "k")
    monkeypatch.setenv("RECORDING_KEY", (tmp_path / "k").read_text())
    for reference in (
        Reference("env", "RECORDING_KEY"),
        Reference("file", str(tmp_path / "k")),
        Reference("command", argv=("cat", str(tmp_path / "k"))),
    ):
        keys = load(KeySettings(tmp_path, key=reference))
        assert keys.current is not None and keys.current.identifier == identifier
        off = load(KeySettings(tmp_path, enabled=False, key=reference))
        assert off.current is None and identifier in off
        older = load(KeySettings(tmp_path, previous=[reference]))
        assert identifier in older and older.current is not None


def test_a_key_that_cannot_be_had(tmp_path: Path) -> None:
    missing = KeySettings(tmp_path, key=Reference("env", "NOT_SET_ANYWHERE"))
    with pytest.raises(ConfigError, match=r"recording\.encryption\.key: .*NOT_SET_ANYWHERE"):
        load(missing)
    keys = load(missing, make=False)
    assert keys.current is None and "NOT_SET_ANYWHERE" in keys.absent[0]
    key_in(tmp_path / "recording.key")
    (tmp_path / "recording.key").write_text("not a key")
    with pytest.raises(ConfigError, match="not a key"):
        load(KeySettings(tmp_path))
    key_in(tmp_path / "recording.key")
    (tmp_path / "recording.key").chmod(0o644)
    with pytest.raises(ConfigError, match="every user of this machine can read it"):
        load(KeySettings(tmp_path))


def test_a_key_that_is_needed_and_not_listed(tmp_path: Path) -> None:
    assert unlisted_key(tmp_path / "recordings", KeyRing(None)) == ""
    path, _ = record(tmp_path)
    key_in(tmp_path / "recording.key")
    needed = unlisted_key(path.parents[3], load(KeySettings(tmp_path)))
    assert needed.startswith("local:")


def test_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "sallyport.yaml"
    file.write_text(CONFIG % "{key: {file: keys/a}, previous: [{env: OLD}, {command: [cat, b]}]}")
    settings = key_settings(load_config(file))
    assert settings.reference == Reference("file", str(tmp_path / "keys/a"))
    kinds = [reference.kind for reference in settings.previous]
    assert (settings.enabled, kinds) == (True, ["env", "command"])
    for wrong, said in (
        ("{key: {file: a, env: B}}", "exactly one of env, file and command"),
        ("{key: abc}", "recording.encryption.key"),
        ("{previous: [{}]}", "exactly one of env, file and command"),
        ("{on: true}", "on"),
    ):
        file.write_text(CONFIG % wrong)
        with pytest.raises(ConfigError, match=said):
            load_config(file)


def test_a_gateway_without_its_key_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    record(tmp_path / "var")
    (tmp_path / "policy.yaml").write_text("version: 1\nrules: []\n")
    file = tmp_path / "sallyport.yaml"
    file.write_text(CONFIG % "{}")
    done = run([SALLYPORT, "serve", "--config", str(file)], {})
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "is missing, and recordings are encrypted under it" in done.stderr
