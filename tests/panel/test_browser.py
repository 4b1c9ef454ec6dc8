"""The pages in a real headless Chromium, against the panel on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright, expect
from prometheus_client import CollectorRegistry

from streams.panel.live import Hub
from streams.panel.server import create_app
from streams.panel.words import feature_path, model_path
from tests.panel.screenshot import ARGUMENTS
from tests.panel.story import DEPLOYMENT, Story, StoryHistory, car_loan, episode, one_result
from tests.real import require_real

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<img src=x onerror=\"document.title='owned'\">/..?#%2F{}"


class Panel:
    """The panel as a server that can be stopped and started again on the same port."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.hub = Hub()
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, as a new process would: with a hub that has heard nothing."""
        self.hub = Hub()
        app = create_app(
            history=StoryHistory(self.story),
            live=self.hub,
            baselines=self.story.baselines,
            token=None,
            insecure=False,
            registry=CollectorRegistry(),
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        server: Any = site._server  # the port that was chosen
        self.port = server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop it and cut every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


class Watched:
    """A page, what its console said and which hosts it asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")):
            self.hosts.add(url.split("/")[2].rpartition(":")[0])


Open = Callable[..., Awaitable[Watched]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests here."""
    chromium = require_real("chromium")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=str(chromium), args=list(ARGUMENTS))
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browser: Browser) -> AsyncIterator[Open]:
    """Return a function that opens a watched page; each has its own profile."""
    opened: list[Watched] = []

    async def run(url: str, **settings: Any) -> Watched:
        opened.append(Watched(await browser.new_page(**settings)))
        await opened[-1].page.goto(url)
        return opened[-1]

    yield run
    for watched in opened:
        await watched.page.close()


@pytest_asyncio.fixture(loop_scope="module")
async def panel() -> AsyncIterator[Panel]:
    """The panel with the car-loan story, running."""
    made = Panel(car_loan())
    await made.start()
    yield made
    await made.stop()


async def live(page: Page) -> None:
    """Wait until the page follows the stream."""
    await expect(page.locator("#link")).to_have_attribute("data-link", "live", timeout=15_000)


async def drawn(page: Page) -> None:
    """Wait until every chart is drawn."""
    await expect(page.locator("[data-chart] .main-svg").first).to_be_attached(timeout=15_000)
    await expect(page.locator("[data-chart] > .pending")).to_have_count(0, timeout=15_000)


async def until(page: Page, expression: str, wanted: object) -> None:
    """Wait until a JavaScript expression has a value; the page's own policy forbids Playwright's polling."""
    async with asyncio.timeout(5):
        while await page.evaluate(expression) != wanted:
            await page.evaluate("new Promise(requestAnimationFrame)")


async def test_every_page_opens_without_errors_and_asks_no_other_host(panel: Panel, open_page: Open) -> None:
    for path in ("/", "/models/car-loan", "/models/car-loan/features/car_value", "/alerts", "/models/search-ranking"):
        for scheme in ("light", "dark"):
            watched = await open_page(panel.url + path, color_scheme=scheme)
            await live(watched.page)
            if "/features/" in path or path.endswith("car-loan"):
                await drawn(watched.page)
            assert watched.errors == []
            assert watched.hosts == {"127.0.0.1"}


async def test_a_drift_appears_within_a_second_without_a_reload(panel: Panel, open_page: Open) -> None:
    watched = await open_page(panel.url)
    page = watched.page
    await live(page)
    await page.evaluate("window.unreloaded = true")
    took_s = []
    for model in ("fraud-score", "churn", "support-triage"):
        drifting = one_result(model, 95, verdict="drift", features=("driver_tenure",))
        began = time.monotonic()
        panel.hub.publish(drifting)
        panel.hub.publish(episode(model, drifting, "open", 1))
        await expect(page.locator("tr.drift a.name", has_text=model)).to_be_visible()
        took_s.append(time.monotonic() - began)
    await expect(page.locator("h1")).to_have_text("4 of 5 models drifting")
    await expect(page.locator(".lead")).to_contain_text("4 open alerts")
    assert min(took_s) < 1, "the best of three, because the machine may be busy"
    assert await page.evaluate("window.unreloaded")
    assert watched.errors == []


async def test_the_charts_of_an_open_page_follow_a_new_window(panel: Panel, open_page: Open) -> None:
    watched = await open_page(f"{panel.url}/models/car-loan")
    await live(watched.page)
    await drawn(watched.page)
    columns = "document.getElementById('heat').data[0].z[0].length"
    before = await watched.page.evaluate(columns)
    panel.hub.publish(one_result("car-loan", 96, verdict="drift", features=("car_value",)))
    await until(watched.page, columns, before + 1)
    assert watched.errors == []


async def test_the_first_result_of_a_model_turns_its_empty_page_into_charts(panel: Panel, open_page: Open) -> None:
    watched = await open_page(f"{panel.url}/models/search-ranking")
    await live(watched.page)
    panel.hub.publish(one_result("search-ranking", 1))
    await drawn(watched.page)
    await expect(watched.page.locator("h1 .state")).to_contain_text("No drift")


async def test_the_page_survives_a_restart_says_so_and_shows_what_it_missed(panel: Panel, open_page: Open) -> None:
    page = (await open_page(panel.url)).page
    await live(page)
    await page.evaluate("window.unreloaded = true")
    await panel.stop()
    await expect(page.locator("#link")).to_have_text("Reconnecting…")
    panel.story.results.append(one_result("churn", 120, verdict="drift", features=("loan_length",)))
    await panel.start()
    await live(page)
    await expect(page.locator("h1")).to_have_text("2 of 5 models drifting")
    assert await page.evaluate("window.unreloaded")


async def test_a_page_in_the_background_gives_its_connection_back_and_catches_up(panel: Panel, open_page: Open) -> None:
    page = (await open_page(panel.url)).page
    await live(page)
    show = "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    show += " document.dispatchEvent(new Event('visibilitychange')); }"
    await page.evaluate(show, True)
    async with asyncio.timeout(10):
        while panel.hub.n_subscribers:
            panel.hub.publish(one_result("churn", 95, revision=time.monotonic_ns()))  # the server notices at a write
            await page.evaluate("new Promise(requestAnimationFrame)")
    panel.hub.publish(one_result("fraud-score", 95, verdict="drift", features=("driver_tenure",)))
    await expect(page.locator("h1")).to_have_text("1 of 5 models drifting")
    await page.evaluate(show, False)
    await expect(page.locator("h1")).to_have_text("2 of 5 models drifting")


async def test_hostile_names_stay_text_in_pages_and_charts(panel: Panel, open_page: Open) -> None:
    panel.hub.publish(one_result(HOSTILE, 1, verdict="drift", features=(HOSTILE, "..", "<b>bold</b>")))
    for path in ("/", model_path(HOSTILE), feature_path(HOSTILE, HOSTILE), feature_path(HOSTILE, "..")):
        watched = await open_page(panel.url + path)
        await live(watched.page)
        if path != "/":
            await drawn(watched.page)
        assert await watched.page.title() != "owned"
        assert await watched.page.locator("main img").count() == 0
        assert watched.errors == []
    heat = (await open_page(panel.url + model_path(HOSTILE))).page
    await drawn(heat)
    labels = await heat.locator("#heat .ytick text").all_text_contents()
    assert "<b>bold</b>" in labels
    assert any(label.startswith("<img src=x") for label in labels)


async def test_a_cell_of_the_heat_map_opens_its_feature_even_with_a_hostile_name(panel: Panel, open_page: Open) -> None:
    panel.hub.publish(one_result(HOSTILE, 1, verdict="drift", features=(HOSTILE,)))
    page = (await open_page(panel.url + model_path(HOSTILE))).page
    await drawn(page)
    await page.locator("#heat .nsewdrag").click()
    await page.wait_for_url("**/features/**")
    await expect(page.locator("h1 bdi")).to_have_text(HOSTILE)


async def test_a_point_of_the_timeline_chooses_the_window_of_the_distribution(panel: Panel, open_page: Open) -> None:
    page = (await open_page(f"{panel.url}/models/car-loan/features/car_value")).page
    await live(page)
    await drawn(page)
    words = page.locator("#distribution-words")
    before = await words.inner_text()
    await page.locator("#timeline .nsewdrag").click(position={"x": 60, "y": 120})
    await expect(words).not_to_have_text(before)
    assert "at=" in page.url


async def test_a_deployment_is_a_line_with_its_name_on_every_chart_over_time(panel: Panel, open_page: Open) -> None:
    for path, charts in (("", ("heat",)), ("/features/car_value", ("timeline", "quality"))):
        page = (await open_page(f"{panel.url}/models/car-loan{path}")).page
        await drawn(page)
        for chart in charts:
            await until(page, f"document.getElementById('{chart}').layout.shapes.length", 1)
            await until(page, f"document.getElementById('{chart}').layout.annotations[0].text", DEPLOYMENT[0])


async def test_the_test_is_chosen_by_keyboard(panel: Panel, open_page: Open) -> None:
    page = (await open_page(f"{panel.url}/models/car-loan/features/car_value")).page
    await drawn(page)
    await page.locator("input[name=test]:checked").focus()
    await page.keyboard.press("ArrowRight")
    await until(page, "document.getElementById('timeline').data[2].name", "KS")


async def test_focus_stays_on_its_link_through_a_refresh(panel: Panel, open_page: Open) -> None:
    page = (await open_page(panel.url)).page
    await live(page)
    await page.locator("a.name", has_text="churn").focus()
    panel.hub.publish(one_result("fraud-score", 95, verdict="drift", features=("driver_tenure",)))
    await expect(page.locator("h1")).to_have_text("2 of 5 models drifting")
    assert await page.evaluate("document.activeElement.textContent") == "churn"


@pytest.mark.parametrize("path", ["/", "/models/car-loan", "/models/car-loan/features/salary_range", "/alerts"])
async def test_nothing_overflows_a_phone(panel: Panel, open_page: Open, path: str) -> None:
    page = (await open_page(panel.url + path, viewport={"width": 375, "height": 700})).page
    await live(page)
    if "car-loan" in path:
        await drawn(page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 375
