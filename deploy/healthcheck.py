"""Exit status 0 while the gateway's process answers its liveness probe (docs/console.md, "Probes
and metrics").

For containers, which have neither curl nor a shell. SALLYPORT_HEALTH is the address of the console
as the gateway sees it; the default fits the image. The certificate is not checked: the probe asks
its own loopback.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request

ADDRESS = os.environ.get("SALLYPORT_HEALTH", "https://127.0.0.1:8642")
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE

try:
    # The address is the operator's own.
    with urllib.request.urlopen(f"{ADDRESS}/healthz", timeout=2, context=CONTEXT) as answer:  # noqa: S310
        sys.exit(0 if answer.status == 200 else 1)
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"{ADDRESS}/healthz: {error}")
