"""Which controls of common frameworks a report gives evidence for. Written for auditors: what is
not covered is said as plainly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EVIDENCED, PARTLY, NOT_COVERED = "evidenced", "partly", "not covered"


@dataclass(frozen=True, slots=True)
class Control:
    """``coverage``: evidenced | partly | not covered, for access through the gateway. ``why``: by
    which section, or what is missing.
    """

    framework: str
    control: str
    asks: str
    coverage: str
    why: str


CONTROLS: Final = (
    Control(
        "SOC 2", "CC6.1", "logical access is restricted", PARTLY,
        "Access and refusals, for databases behind this gateway; nothing of access past it.",
    ),
    Control(
        "SOC 2", "CC6.3", "access follows roles and least privilege", PARTLY,
        "Rules, groups and policy changes; whether the rules are the least that is needed is"
        " not judged.",
    ),
    Control(
        "SOC 2", "CC7.2", "anomalies are monitored", PARTLY,
        "Refusals, refused logins, and findings of unusual behaviour with what followed; only"
        " where watching is on, and after it has learned.",
    ),
    Control(
        "SOC 2", "CC8.1", "changes are authorized", PARTLY,
        "Held statements with their reviewers; policy changes with diffs, but not who approved"
        " these.",
    ),
    Control(
        "ISO/IEC 27001:2022", "A.5.15", "access control", EVIDENCED,
        "Identities, rules and refusals.",
    ),
    Control(
        "ISO/IEC 27001:2022", "A.8.11", "data masking", PARTLY,
        "Masked columns and their readers; exempt readers are seen by relation, not by column.",
    ),
    Control(
        "ISO/IEC 27001:2022", "A.8.15", "logging, with logs protected", PARTLY,
        "Hash chains and the signed log are verified, here without a key and a checkpoint from"
        " elsewhere.",
    ),
    Control(
        "HIPAA", "164.312(a)(1)", "access control with unique user identification", EVIDENCED,
        "Each session has a verified subject and issuer.",
    ),
    Control(
        "HIPAA", "164.312(b)", "audit controls", EVIDENCED,
        "Every statement with its verdict and outcome.",
    ),
    Control(
        "HIPAA", "164.312(c)(1)", "integrity of ePHI", NOT_COVERED,
        "Changes are recorded; the data itself is not checked.",
    ),
    Control(
        "PCI DSS 4.0.1", "3.4.1", "PAN is masked when displayed", PARTLY,
        "Only for columns that the policy masks; no discovery of others.",
    ),
    Control(
        "PCI DSS 4.0.1", "7.2.6", "queries to stored cardholder data are restricted", PARTLY,
        "Verdicts by rule; only through the gateway.",
    ),
    Control(
        "PCI DSS 4.0.1", "10.2.1", "audit logs of access and administrative actions", EVIDENCED,
        "Sessions, statements and management actions.",
    ),
    Control(
        "PCI DSS 4.0.1", "10.2.1.4", "invalid logical access attempts are logged", EVIDENCED,
        "Refused logins and sign-ins, with address and reason; repeats are counted.",
    ),
    Control(
        "PCI DSS 4.0.1", "10.3.4", "change detection on audit logs", PARTLY,
        "By hash chains, the index and the signed log; witnesses only where audit.witnesses"
        " names some.",
    ),
    Control(
        "PCI DSS 4.0.1", "10.5.1", "twelve months of history are kept", NOT_COVERED,
        "Retention is the operator's; this report says only what it read.",
    ),
    Control(
        "GDPR", "Art. 25", "data protection by design and by default", PARTLY,
        "Masks by default for agents; purposes are not known.",
    ),
    Control(
        "GDPR", "Art. 30", "records of processing activities", NOT_COVERED,
        "Who read what is here; purposes, recipients and retention are not.",
    ),
    Control(
        "GDPR", "Art. 32", "security of processing", PARTLY,
        "Access control, masking, encrypted recordings; the index and the data itself are not"
        " encrypted here.",
    ),
    Control(
        "EU AI Act", "Art. 12", "events of high-risk AI systems are logged", PARTLY,
        "What agents did to databases; not their models, prompts or outputs.",
    ),
    Control(
        "EU AI Act", "Art. 14", "human oversight", PARTLY,
        "Decisions about held statements, and kills; only for database actions.",
    ),
    Control(
        "EU AI Act", "Art. 26(6)", "deployers keep logs for six months", NOT_COVERED,
        "Retention is the operator's.",
    ),
)  # fmt: skip
