"""One worker of a gateway; ``sallyport serve`` starts it: ``python -m sallyport.cli.worker
<descriptor>``.
"""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path


def main() -> None:
    """Serve until told to stop. Exit status 2 for a configuration that cannot be used."""
    signal.signal(signal.SIGHUP, lambda number, frame: None)  # until the gateway can act on it
    import msgspec

    from sallyport.app.serve import serve
    from sallyport.audit.display import inert
    from sallyport.config import load_config
    from sallyport.core.errors import SallyportError
    from sallyport.workers.place import WorkerPlace
    from sallyport.workers.start import receive_start

    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)
    try:
        start = receive_start(end)
        place = WorkerPlace(start, end)
        end.setblocking(False)
        serve(
            start.config,
            place.ready,
            accept_lost_state=start.accept_lost_state,
            reread=lambda: load_config(Path(start.config_file)),
            place=place,
        )
    except SallyportError as error:
        print(f"sallyport: {inert(str(error), newlines=True)}", file=sys.stderr)
        sys.exit(2)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        print(f"sallyport: a worker cannot start: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
