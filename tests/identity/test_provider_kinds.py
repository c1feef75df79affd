"""Every kind of identity provider is complete: what it wants in the configuration, what its tokens
say, and its section in docs/identity.md.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from sallyport.config.demands import demands_value
from sallyport.config.identity import OidcIssuer
from sallyport.config.providers import PROVIDER_KINDS
from sallyport.core.errors import ConfigError
from sallyport.identity.oidc.presets import presets
from tests.support.places import ROOT
from tests.test_config import EXAMPLE, load

DOCS = (ROOT / "docs" / "identity.md").read_text()
SECTIONS = dict(re.findall(r"^### (.+)\n((?:(?!^##).*\n)*)", DOCS, re.MULTILINE))


def documented(kind: str) -> list[dict[str, object]]:
    """The entries of ``identity.oidc`` in its section."""
    blocks = re.findall(r"```yaml\n(- .*?)```", SECTIONS[PROVIDER_KINDS[kind].title], re.DOTALL)
    return [entry for block in blocks for entry in yaml.safe_load(block)]


def test_configuration_presets_and_documentation_name_the_same_kinds() -> None:
    assert set(PROVIDER_KINDS) == set(presets())
    assert set(re.findall(r"^- provider: (\S+)", DOCS, re.MULTILINE)) == set(PROVIDER_KINDS)


@pytest.mark.parametrize("kind", PROVIDER_KINDS)
def test_its_section_has_entries_that_name_it_and_nothing_else(kind: str) -> None:
    entries = documented(kind)
    assert entries
    assert {entry["provider"] for entry in entries} == {kind}
    for entry in entries:
        written = msgspec.convert(entry, OidcIssuer)
        assert written.issuer or PROVIDER_KINDS[kind].only_issuer
        assert PROVIDER_KINDS[kind].fault(written.issuer) is None
        demanded = PROVIDER_KINDS[kind].demanded
        assert not demanded or any(demands_value(text, demanded) for text in written.require)


@pytest.mark.parametrize("kind", [name for name in PROVIDER_KINDS if PROVIDER_KINDS[name].demanded])
def test_where_anybody_gets_a_token_a_condition_is_demanded(kind: str, tmp_path: Path) -> None:
    issuer = EXAMPLE.replace("- issuer: ", f"- provider: {kind}\n      issuer: ")
    assert issuer != EXAMPLE
    with pytest.raises(ConfigError, match="require"):
        load(tmp_path, issuer)
    example = PROVIDER_KINDS[kind].example
    kept = issuer.replace("- provider", f"- require: ['{example}']\n      provider")
    assert load(tmp_path, kept).identity.oidc[0].provider == kind


def test_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    text = EXAMPLE.replace("- issuer: ", "- provider: entrra\n      issuer: ")
    with pytest.raises(ConfigError, match="entra, google"):
        load(tmp_path, text)
