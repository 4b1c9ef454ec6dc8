"""``python -m streams.probe URL``: exit code 0 when the address answers 200, for health checks in containers."""

from __future__ import annotations

import http.client
import sys
from urllib.parse import urlsplit


def answers(url: str, timeout_s: float = 4.0) -> bool:
    """Return whether a GET of `url` is answered with 200 within the time; no proxy, no redirect is followed."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=timeout_s)
    try:
        connection.request("GET", address.path or "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1]) else 1)
