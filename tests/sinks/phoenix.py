"""The real Phoenix, in an environment of its own, on 127.0.0.1 only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real import STRICT, missing

VERSION = "20.26.1"
HOME = Path(__file__).parents[2] / ".cache" / f"phoenix-{VERSION}"
INSTALL_S = 600
READY_S = 180
# Phoenix binds its gRPC listener to every interface whatever PHOENIX_HOST says, and has no switch for it.
LAUNCHER = """
import sys
import grpc.aio._server as server
listen = server.Server.add_insecure_port
server.Server.add_insecure_port = lambda self, address: listen(self, address.replace("[::]", "127.0.0.1"))
from phoenix.server.main import main
sys.argv = ["phoenix", "serve"]
main()
"""


def phoenix_python() -> Path:
    """Return the Python that has Phoenix: DRIFTGAUGE_TEST_PHOENIX, else ours; a strict run installs it."""
    if named := os.environ.get("DRIFTGAUGE_TEST_PHOENIX"):
        return Path(named)
    python = HOME / "bin" / "python"
    if not (HOME / "installed").exists():
        uv = [sys.executable, "-m", "uv"]
        remedy = (
            f"python -m uv venv {HOME} && python -m uv pip install --python {python} arize-phoenix=={VERSION} && "
            f"touch {HOME}/installed (about 850 MB), or name its Python in DRIFTGAUGE_TEST_PHOENIX"
        )
        if not STRICT:
            missing("Phoenix", remedy)
        install = [*uv, "pip", "install", "-q", "--python", str(python), f"arize-phoenix=={VERSION}"]
        for step in ([*uv, "venv", "-q", "--clear", "--python", sys.executable, str(HOME)], install):
            try:
                subprocess.run(step, check=True, timeout=INSTALL_S, capture_output=True)
            except (subprocess.SubprocessError, OSError) as failed:
                missing("Phoenix", f"{type(failed).__name__} while installing it; {remedy}")
        (HOME / "installed").touch()
    return python


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def phoenix_server(folder: Path) -> Iterator[str]:
    """Run Phoenix on an empty store in the folder; yields its URL."""
    python = phoenix_python()
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(_free_port()),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
        "PHOENIX_ENABLE_MCP_SERVER": "false",
        "PHOENIX_ALLOWED_SANDBOX_PROVIDERS": "NONE",
    }
    log = folder / "phoenix.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(python), "-c", LAUNCHER], env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
    try:
        deadline = time.monotonic() + READY_S
        while not _healthy(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Phoenix did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)  # between two looks; the deadline above ends it
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
