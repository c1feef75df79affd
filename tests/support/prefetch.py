"""``python -m tests.support.prefetch``: download what the tests need, before they run."""

from __future__ import annotations

import sys

from tests.support.npm import npm_install
from tests.support.places import ROOT
from tests.support.postgres import install

#: npm projects inside the tests.
PROJECTS = ("tests/identity/idp", "tests/drivers/node", "tests/web/axe")


def main() -> int:
    versions = sys.argv[1:] or ["16"]
    for version in versions:
        print(f"PostgreSQL {version}", flush=True)
        install(version)
    for project in PROJECTS:
        if (ROOT / project / "package.json").exists():
            print(f"npm packages of {project}", flush=True)
            npm_install(ROOT / project)
    return 0


if __name__ == "__main__":
    sys.exit(main())
