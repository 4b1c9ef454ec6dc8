"""``python -m streams.roles ROLE``: what the supervisor starts; `driftgauge run ROLE` does the same."""

from __future__ import annotations

import logging
import sys

from streams import roles
from streams.engine.preflight import PreflightError
from streams.panel.access import UnsafeBind
from streams.settings import SettingsError, load

if __name__ == "__main__":
    try:
        roles.run(sys.argv[1], load())
    except (SettingsError, PreflightError, UnsafeBind) as error:
        logging.critical("%s", error)
        sys.exit(2)
