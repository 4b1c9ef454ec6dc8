"""Who may see the panel."""

from __future__ import annotations

import pytest
from yarl import URL

from streams.panel.access import COOKIE, local_target
from streams.panel.server import UnsafeBind, check_bind
from tests.panel.conftest import Start

TOKEN = "correct horse / battery+staple&é"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_binding_beyond_this_machine_needs_a_token_or_insecure(host: str) -> None:
    with pytest.raises(UnsafeBind, match="panel_token"):
        check_bind(host, None, False)
    with pytest.raises(UnsafeBind):
        check_bind(host, "", False)
    check_bind(host, TOKEN, False)
    check_bind(host, None, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    check_bind(host, None, False)


@pytest.mark.parametrize("path", ["/", "/models/a", "/alerts", "/api/models", "/api/stream", "/metrics", "/nothing"])
async def test_without_the_token_nothing_is_shown(start: Start, path: str) -> None:
    client = await start(token=TOKEN)
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Cookie": f"{COOKIE}={'0' * 64}"},
    ):
        response = await client.get(path, headers=headers)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN not in await response.text()


async def test_probes_and_the_style_sheet_need_no_token(start: Start) -> None:
    client = await start(token=TOKEN)
    for path in ("/healthz", "/readyz", "/static/0/panel.css"):
        assert (await client.get(path)).status == 200


async def test_a_bearer_token_opens_pages_and_json(start: Start) -> None:
    client = await start(token="plain")
    assert (await client.get("/api/models", headers={"Authorization": "Bearer plain"})).status == 200
    assert (await client.get("/", headers={"Authorization": "bearer plain"})).status == 200
    assert (await client.get("/", headers={"Authorization": "Basic plain"})).status == 401


async def test_a_token_in_the_address_becomes_a_cookie_and_leaves_the_address(start: Start) -> None:
    client = await start(token=TOKEN)
    url = URL("/models/a%2Fb").with_query(token=TOKEN, n="7")
    response = await client.get(url, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, "/models/a%2Fb?n=7")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert TOKEN not in cookie
    assert (await client.get("/api/models")).status == 200


async def test_the_form_logs_in_and_returns_to_where_one_was_going(start: Start) -> None:
    client = await start(token=TOKEN)
    wrong = await client.post("/login", data={"token": "guess", "target": "/alerts"})
    assert wrong.status == 401
    assert "That is not the token" in await wrong.text()
    right = await client.post("/login", data={"token": TOKEN, "target": "/alerts"}, allow_redirects=False)
    assert (right.status, right.headers["Location"]) == (303, "/alerts")
    assert (await client.get("/alerts")).status == 200


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "/\t/evil", ""]
)
def test_a_login_never_leads_elsewhere(target: str) -> None:
    assert local_target(target) == URL("/")


async def test_without_a_token_only_names_of_this_machine_are_answered(start: Start) -> None:
    client = await start()
    for host, status in (
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:9", 200),
        ("evil.example", 421),
        ("::::", 421),
    ):
        assert (await client.get("/", headers={"Host": host})).status == status
    trusting = await start(insecure=True)
    assert (await trusting.get("/", headers={"Host": "panel.example"})).status == 200


async def test_every_answer_carries_the_security_headers(start: Start) -> None:
    client = await start()
    for path in ("/", "/nothing", "/api/models", "/static/0/panel.css", "/models/x?n=zero"):
        headers = (await client.get(path)).headers
        policy = headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "default-src 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


async def test_pages_hold_no_inline_script_or_style(start: Start) -> None:
    client = await start(token="t")
    client.session.cookie_jar.clear()
    for page in (await client.get("/"), await client.get("/?token=t")):
        text = await page.text()
        assert "<style" not in text
        assert " style=" not in text
        assert all("src=" in tag for tag in text.split("<script")[1:])
