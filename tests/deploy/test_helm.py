"""The Helm chart: what it renders is valid Kubernetes, and its configuration is one that the
gateway takes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sallyport.config.load import load_config
from tests.support.certificates import Authority
from tests.support.places import ROOT

CHART = ROOT / "deploy" / "helm" / "sallyport"
VALUES = CHART / "ci-values.yaml"
MANIFESTS = ROOT / "deploy" / "kubernetes.yaml"
KUBERNETES = "1.30.0"
DOCUMENTED = (ROOT / "docs" / "deployment.md").read_text()
#: Custom resources: their schemas belong to others and are not checked here.
UNCHECKED = {"ServiceMonitor", "Certificate"}

#: The oldest and the newest version that rendered objects are checked against.
VERSIONS = ("1.27", "1.37")
HELM = shutil.which("helm") or shutil.which("helm", path=Path.home() / "go" / "bin")
needs_helm = pytest.mark.skipif(HELM is None, reason="needs helm: see CONTRIBUTING.md, Tests")


def _helm(*words: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    return subprocess.run([HELM, *words], capture_output=True, text=True, timeout=60)


def _render(*words: str) -> str:
    command = (
        "template",
        "sallyport",
        str(CHART),
        "--namespace",
        "databases",
        "--kube-version",
        KUBERNETES,
    )
    rendered = _helm(*command, *words)
    assert rendered.returncode == 0, rendered.stderr
    return rendered.stdout


def _rendered(directory: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of the chart with these values; each of them is valid."""
    path = directory / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    documents = [d for d in yaml.safe_load_all(_render("--values", str(path))) if d]
    for document in documents:
        if document["kind"] not in UNCHECKED:
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)
    return documents


def _objects() -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(MANIFESTS.read_text()) if document]


def _named(kind: str, suffix: str = "") -> dict[str, Any]:
    (document,) = (
        d for d in _objects() if d["kind"] == kind and d["metadata"]["name"] == f"sallyport{suffix}"
    )
    return document


_CONFIG = "config: {identity: {oidc: [{issuer: x}]}, targets: {shop: {host: db}}}"


@needs_helm
def test_the_chart_passes_lint() -> None:
    checked = _helm("lint", "--strict", str(CHART), "--values", str(VALUES))
    assert checked.returncode == 0, checked.stdout


@needs_helm
def test_plain_manifests_are_the_rendered_chart() -> None:
    """Write them anew: helm template sallyport deploy/helm/sallyport --namespace databases
    --kube-version 1.30.0 --values deploy/helm/sallyport/ci-values.yaml > deploy/kubernetes.yaml
    """
    assert _render("--values", str(VALUES)) == MANIFESTS.read_text()


@needs_helm
@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ("{}", "config.identity.oidc is empty"),
        ("config: {identity: {oidc: [{issuer: x}]}}", "config.targets is empty"),
        (f"{_CONFIG}\nreplicas: 2", "replicas above 1 need config.store"),
        (f"{_CONFIG}\nterminationGracePeriodSeconds: 20", "above config.shutdown.drain_seconds"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, values: str, complaint: str) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(values)
    rendered = _helm(
        "template", "x", str(CHART), "--kube-version", KUBERNETES, "--values", str(path)
    )
    assert rendered.returncode != 0
    assert complaint in rendered.stderr


@needs_helm
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("replica=3", "'replica' not allowed"),
        ("networkPolicy.agentNamespace=agents", "'agentNamespace' not allowed"),
        ("networkPolicy.enabled=perhaps", "got string, want boolean"),
        ("secrets[0].secret=shop-database", "'secret' not allowed"),
        ("service.type=ExternalName", "must be one of"),
    ],
)
def test_a_misspelt_value_is_refused(value: str, complaint: str) -> None:
    refused = _helm("template", "x", str(CHART), "--values", str(VALUES), "--set", value)
    assert refused.returncode != 0
    assert complaint in refused.stderr


@needs_helm
def test_every_value_gives_valid_objects(tmp_path: Path) -> None:
    """With what ci-values.yaml leaves at its default."""
    store = {"host": "db", "database": "sallyport", "password": {"file": "/secrets/store/password"}}
    targets = {"shop": {"host": "db"}}
    values = {
        "image": {"repository": "registry.example.com/sallyport", "tag": "2026-12-01"},
        "imagePullSecrets": [{"name": "registry"}],
        "config": {"identity": {"saml": [{"name": "corp"}]}, "targets": targets, "store": store},
        "secrets": [
            {"name": name, "secretName": f"sallyport-{name}"} for name in ("shop", "store")
        ],
        "tls": {"certManager": {"enabled": True, "dnsNames": ["sallyport.example.com"]}},
        "replicas": 3,
        "persistence": {"storageClassName": "fast"},
        "service": {"type": "LoadBalancer", "port": 5432, "annotations": {"internal": "true"}},
        "networkPolicy": {"consoleFrom": [{"podSelector": {}}]},
        "monitoring": {"serviceMonitor": {"enabled": True, "labels": {"release": "monitoring"}}},
        "podDisruptionBudget": {"enabled": True, "maxUnavailable": "34%"},
        "podAnnotations": {"note": "1"},
        "podLabels": {"team": "platform"},
        "nodeSelector": {"disk": "local"},
        "tolerations": [{"key": "databases", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
    }
    kinds = {document["kind"] for document in _rendered(tmp_path, values)}
    assert kinds >= {"StatefulSet", "Service", "PodDisruptionBudget", "NetworkPolicy"} | UNCHECKED


@needs_helm
def test_agents_outside_of_the_cluster_and_what_else_agents_reach(tmp_path: Path) -> None:
    outside = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    values = yaml.safe_load(_CONFIG) | {
        "networkPolicy": {"agentFrom": [outside], "agentEgress": []},
    }
    gateway, agents = (
        d["spec"] for d in _rendered(tmp_path, values) if d["kind"] == "NetworkPolicy"
    )
    assert gateway["ingress"][0]["from"][1:] == [outside]
    assert [p["port"] for rule in agents["egress"] for p in rule["ports"]] == [6432, 8642, 53, 53]


def test_every_object_fits_the_schema_of_kubernetes() -> None:
    kinds = {document["kind"] for document in _objects()}
    assert kinds > UNCHECKED
    for document in _objects():
        if document["kind"] not in UNCHECKED:
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)


def test_the_documented_pod_is_an_agent_of_the_documented_values() -> None:
    values, pod = (
        yaml.safe_load(block)
        for block in re.findall(r"```yaml\n(.*?)```", DOCUMENTED, re.S)
        if block.startswith(("image:", "apiVersion:"))
    )
    kubernetes_validate.validate(pod, "1.30", strict=True)
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())["networkPolicy"]
    metadata, spec = pod["metadata"], pod["spec"]
    assert metadata["labels"].items() >= defaults["agentSelector"]["matchLabels"].items()
    assert metadata["namespace"] in values["networkPolicy"]["agentNamespaces"]
    (token,) = (
        source["serviceAccountToken"]
        for source in spec["volumes"][0]["projected"]["sources"]
        if "serviceAccountToken" in source
    )
    assert token["audience"] == values["config"]["identity"]["oidc"][0]["audience"]
    (rule,) = yaml.safe_load(values["policy"])["rules"]
    account = f"k8s:{metadata['namespace']}:{spec['serviceAccountName']}"
    assert rule["subjects"]["groups"] == [account]


def test_the_gateway_takes_the_configuration(tmp_path: Path) -> None:
    """The two ConfigMaps and the mounts together, with the container's paths below a directory
    here.
    """
    config = yaml.safe_load(_named("ConfigMap")["data"]["sallyport.yaml"])
    mounts = {
        m["name"]: m["mountPath"]
        for m in _named("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    }
    assert config["policy"] == f"{mounts['policy']}/policy.yaml"
    assert config["data"] == mounts["data"]
    assert config["tls"]["key"].startswith(mounts["tls"] + "/")
    password = config["targets"]["shop"]["password"]["file"]
    assert password.startswith(mounts["secret-shop"] + "/")

    certificate = Authority(tmp_path).issue("localhost")
    config["tls"] = {"certificate": str(certificate.certificate), "key": str(certificate.key)}
    config["data"] = str(tmp_path / "data")
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o600)
    config["targets"]["shop"]["password"]["file"] = str(secret)
    policy = tmp_path / "policy.yaml"
    policy.write_text(_named("ConfigMap", "-policy")["data"]["policy.yaml"])
    config["policy"] = str(policy)
    path = tmp_path / "sallyport.yaml"
    path.write_text(yaml.safe_dump(config))
    loaded = load_config(path)
    assert list(loaded.targets) == ["shop"]


def test_pods_have_no_more_than_they_need() -> None:
    pod = _named("StatefulSet")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    config = yaml.safe_load(_named("ConfigMap")["data"]["sallyport.yaml"])
    drain = config.get("shutdown", {}).get("drain_seconds", 10)
    assert pod["terminationGracePeriodSeconds"] > drain


@needs_helm
def test_its_account_has_a_token_where_the_configuration_needs_one(tmp_path: Path) -> None:
    asked = {"provider": "kubernetes", "audience": "sallyport"}
    for provider, token, binding in (
        (asked, True, False),
        (asked | {"token_review": True}, True, True),
        (asked | {"issuer": "https://x", "jwks_file": "/secrets/keys/jwks"}, False, False),
        ({"issuer": "https://x", "audience": "sallyport"}, False, False),
    ):
        config = {"identity": {"oidc": [provider]}, "targets": {"shop": {"host": "db"}}}
        objects = _rendered(tmp_path, {"config": config})
        (pod,) = (d for d in objects if d["kind"] == "StatefulSet")
        assert pod["spec"]["template"]["spec"]["automountServiceAccountToken"] is token
        assert any(d["kind"] == "ClusterRoleBinding" for d in objects) is binding


def test_agents_reach_no_database() -> None:
    """A NetworkPolicy is about pods of its own namespace, and a peer without a namespace, too."""
    policy = _named("NetworkPolicy", "-agents")
    egress = policy["spec"]["egress"]
    (gateway,) = egress[0]["to"]
    assert gateway["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "databases"
    }
    ((agents,),) = (rule["from"] for rule in _named("NetworkPolicy")["spec"]["ingress"][:1])
    (expression,) = agents["namespaceSelector"]["matchExpressions"]
    assert expression["values"] == [policy["metadata"]["namespace"]] == ["agents"]
    ports = {port["port"] for rule in egress if "to" not in rule for port in rule["ports"]}
    assert ports == {53, 443}
    database = _named("NetworkPolicy", "-database")["spec"]["ingress"]
    selector = database[0]["from"][0]["podSelector"]["matchLabels"]
    assert selector == _named("StatefulSet")["spec"]["selector"]["matchLabels"]


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (systemd)"
)
def test_the_unit_is_valid(tmp_path: Path) -> None:
    unit = (ROOT / "deploy" / "systemd" / "sallyport.service").read_text()
    path = tmp_path / "sallyport.service"
    path.write_text(unit.replace("/opt/sallyport/bin/sallyport", "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        timeout=60,
    )
    complaints = [line for line in checked.stderr.splitlines() if "sallyport.service" in line]
    assert complaints == []
    # Exposure from 0 to 10, here times ten: what a network service cannot do without is 1.4.
    hardened = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(path)]
    exposed = subprocess.run(hardened, capture_output=True, text=True, timeout=60)
    assert exposed.returncode == 0, exposed.stdout
