"""How processes end: their rows arrive without anybody closing the client."""

from __future__ import annotations

import signal

import pytest

from tests.client.support import Line, finish, start


@pytest.mark.parametrize(("way", "code"), [("end", 0), ("raise", 1), ("atexit", 0)])
def test_rows_of_a_process_that_ends_arrive(line: Line, way: str, code: int) -> None:
    process = start("leaves.py", way, environment=line.environment())
    _, errors = finish(process)
    assert process.returncode == code, errors
    assert line.ids() == [str(number) for number in range(100)]
    assert "driftgauge" not in errors.replace("driftgauge_client", "")


def test_rows_of_a_service_that_exits_on_sigterm_arrive(line: Line) -> None:
    process = start("leaves.py", "sigterm", environment=line.environment())
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    output, errors = finish(process)
    assert process.returncode == 0, errors
    n_logged = int(output)
    assert line.ids()[:n_logged] == [str(number) for number in range(n_logged)]


def test_a_signal_handler_may_log_and_close_in_the_middle_of_log(line: Line) -> None:
    process = start("leaves.py", "handler", environment=line.environment())
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert line.ids()[-1] == "last"
