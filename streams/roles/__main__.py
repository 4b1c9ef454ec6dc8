"""``python -m streams.roles ROLE``: what the supervisor starts; `driftgauge run ROLE` does the same."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from streams import roles
from streams.engine.preflight import PreflightError, UnreachableError
from streams.panel.access import UnsafeBind
from streams.settings import SettingsError, load

UNREACHABLE, REFUSED = 3, 2


def end_with_parent() -> None:
    """Stop as if told to once the pipe from the supervisor breaks, which it does however that dies."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    if "--supervised" in sys.argv[2:]:
        end_with_parent()
    try:
        roles.run(sys.argv[1], load())
    except UnreachableError as error:
        logging.critical("%s", error)
        sys.exit(UNREACHABLE)
    except (SettingsError, PreflightError, UnsafeBind) as error:
        logging.critical("%s", error)
        sys.exit(REFUSED)
