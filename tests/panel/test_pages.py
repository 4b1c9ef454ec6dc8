"""Pages and their JSON twins, with ordinary, hostile and missing content."""

from __future__ import annotations

import time
from functools import partial
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter
from yarl import URL

from streams.panel.live import Hub
from streams.panel.readings import Readings
from streams.panel.words import feature_path, model_path
from tests.panel.conftest import Client, Start
from tests.panel.story import DEPLOYMENT, Story, StoryHistory, car_loan, episode, one_result

HOSTILE = [
    "a/b//c",
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "наименование ☃ 👩‍👩‍👧",
    "..",
    ".",
    "~tilde",
    "",
    " spaces and ? # & % %2F + ; =",
    "{{ 7*7 }}{% raw %}",
    "line\nbreak\ttab",
    "\u202egnirts",
    "x" * 400,
]


class Page(HTMLParser):
    """Collects tags, links and texts of a page, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        """All the words of the page."""
        return " ".join(" ".join(self.words).split())


async def page(client: Client, path: str, status: int = 200) -> Page:
    """Fetch a page, by its path as it stands."""
    response = await client.get(URL(path, encoded=True))
    assert response.status == status, await response.text()
    assert response.content_type == "text/html"
    return Page(await response.text())


async def data(client: Client, path: str, status: int = 200) -> Any:
    """Fetch JSON, by its path as it stands."""
    response = await client.get(URL(path, encoded=True))
    assert response.status == status, await response.text()
    assert response.content_type == "application/json"
    return msgspec.json.decode(await response.read())


@pytest.fixture(scope="module")
def told() -> Story:
    """The story of the README's picture."""
    return car_loan()


async def test_an_empty_panel_says_how_to_send_the_first_event(start: Start) -> None:
    found = await page(await start(), "/")
    assert "No model yet" in found.text
    assert "drift.log(" in found.text
    assert "first 10,000 rows" in found.text


async def test_the_front_page_shows_the_drifting_model_first(start: Start, history: StoryHistory, told: Story) -> None:
    history.story = told
    client = await start()
    models = (await data(client, "/api/models"))["models"]
    assert (models[0]["model"], models[0]["state"]) == ("car-loan", "drift")
    assert set(models[0]["drifted"]) == {
        "car_value",
        "salary_range",
        "loan_length",
        "repaid_loan_on_prev_car",
        "prediction",
    }
    assert {m["model"]: m["state"] for m in models}["support-triage"] == "insufficient"
    found = await page(client, "/")
    assert "1 of 5 models drifting" in found.text
    assert "1 open alert" in found.text


async def test_a_model_with_a_baseline_and_no_window_is_waiting(
    start: Start, history: StoryHistory, told: Story
) -> None:
    history.story = Story(baselines={"search-ranking": told.baselines["search-ranking"]})
    client = await start()
    (model,) = (await data(client, "/api/models"))["models"]
    assert (model["state"], model["provisional"], model["size_ms"]) == ("waiting", True, 6 * 3_600_000)
    assert "first window of 6 h has ended" in (await page(client, "/models/search-ranking")).text


async def test_the_model_page_ranks_features_and_draws_the_heat_map(
    start: Start, history: StoryHistory, told: Story
) -> None:
    history.story = told
    client = await start()
    view = await data(client, "/api/models/car-loan")
    assert view["features"][0]["feature"] == "car_value"
    strengths = [row["strength"] for row in view["features"] if row["verdict"] == "drift"]
    assert strengths == sorted(strengths, reverse=True)
    heat = view["heat"]
    assert len(heat["starts"]) == 96
    assert all(len(row) == 96 for row in heat["strengths"])
    at = heat["features"].index("car_value")
    assert max(heat["strengths"][at][:49]) < 1 < min(heat["strengths"][at][50:])
    assert view["features"][0]["since"] == heat["starts"][50]
    found = await page(client, "/models/car-loan")
    assert "5 of 9 features drift since 2026-11-12 06:00" in found.text
    assert heat["deployments"] == [list(DEPLOYMENT)]
    assert f"Last deployment {DEPLOYMENT[0]} 2026-11-12 04:30" in found.text
    assert [alert["state"] for alert in view["episodes"]] == ["open"]


async def test_the_feature_page_shows_both_distributions_and_every_test(
    start: Start, history: StoryHistory, told: Story
) -> None:
    history.story = told
    client = await start()
    view = await data(client, "/api/models/car-loan/features/car_value")
    distribution = view["distribution"]
    assert view["deployments"] == [list(DEPLOYMENT)]
    assert sum(distribution["reference"]) == pytest.approx(1)
    assert sum(distribution["current"]) == pytest.approx(1)
    assert len(distribution["labels"]) == len(distribution["reference"]) == len(distribution["current"]) == 12
    assert distribution["n_reference"] == 10_000
    assert [test["name"] for test in view["tests"]] == ["psi", "ks"]
    assert len(view["tests"][0]["values"]) == len(view["starts"]) == 96
    assert [warning["detector"] for warning in view["warnings"]] == ["adwin"]
    assert "Reference and current distribution" in (await page(client, "/models/car-loan/features/car_value")).text


async def test_a_window_can_be_chosen_for_the_distribution(start: Start, history: StoryHistory, told: Story) -> None:
    history.story = told
    client = await start()
    first = told.results[0].window_start
    view = await data(client, f"/api/models/car-loan/features/car_value?at={first}")
    assert view["distribution"]["window_start"] == first


async def test_without_a_baseline_the_most_changed_bins_are_shown_and_called_partial(
    start: Start, history: StoryHistory, told: Story
) -> None:
    history.story = Story(results=told.results)
    view = await data(await start(), "/api/models/car-loan/features/car_value")
    assert view["distribution"]["partial"]
    assert len(view["distribution"]["labels"]) == 3


async def test_alerts_are_listed_newest_first_and_by_model(start: Start, history: StoryHistory, told: Story) -> None:
    history.story = told
    client = await start()
    alerts = (await data(client, "/api/alerts"))["alerts"]
    assert [(a["model"], a["state"]) for a in alerts] == [("car-loan", "open"), ("churn", "resolved")]
    only = (await data(client, "/api/alerts?model=churn"))["alerts"]
    assert [a["model"] for a in only] == ["churn"]
    assert "1 open alert" in (await page(client, "/alerts")).text


async def test_what_the_hub_hears_is_shown_at_once_and_the_higher_revision_wins(
    start: Start, hub: Hub, history: StoryHistory
) -> None:
    history.story.results.append(one_result("m", 0, revision=5))
    hub.publish(one_result("m", 0, revision=4, verdict="drift"))
    hub.publish(one_result("m", 1, revision=1, verdict="drift"))
    view = await data(await start(), "/api/models/m")
    assert view["summary"]["state"] == "drift"
    assert view["heat"]["drifted"] == [[False, True]]


async def test_drift_at_a_coarser_scale_alone_is_drift(start: Start, hub: Hub) -> None:
    hub.publish(one_result("m", 9))
    hub.publish(one_result("m", 5, verdict="drift", scale=5))
    view = await data(await start(), "/api/models/m")
    assert view["summary"]["state"] == "drift"
    assert [(row["scale"], row["verdict"]) for row in view["features"]] == [(5, "drift")]


@pytest.mark.parametrize("failure", [RuntimeError("secret-host:8123 refused"), ConnectionError("no"), TimeoutError()])
async def test_a_store_that_fails_leaves_the_page_open_and_is_named(
    start: Start, hub: Hub, history: StoryHistory, failure: Exception
) -> None:
    history.failure = failure
    hub.publish(one_result("m", 0, verdict="drift"))
    client = await start()
    found = await page(client, "/models/m")
    assert "History is not available" in found.text
    assert "secret-host" not in found.text
    assert (await data(client, "/api/models/m"))["features"][0]["verdict"] == "drift"
    assert (await data(client, "/readyz"))["history"] != "ok"


async def test_many_pages_at_once_ask_the_store_once(start: Start, history: StoryHistory) -> None:
    client = await start()
    for _ in range(20):
        await data(client, "/api/models")
    assert history.n_asked <= 4


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_text_and_their_links_lead_to_their_pages(start: Start, hub: Hub, name: str) -> None:
    drifting = one_result(name, 1, verdict="drift", features=(name, "plain"))
    hub.publish(drifting)
    hub.publish(episode(name, drifting, "open", 1))
    client = await start()
    front = await page(client, "/")
    model_link, feature_link = model_path(name), feature_path(name, name)
    assert {model_link, feature_link} <= set(front.links)
    assert (await data(client, f"/api{model_link}"))["summary"]["model"] == name
    assert (await data(client, f"/api{feature_link}"))["feature"] == name
    for found in (
        front,
        await page(client, model_link),
        await page(client, feature_link),
        await page(client, "/alerts"),
    ):
        assert found.tags.count("script") <= 2
        assert "img" not in found.tags
        assert found.handlers == []
        assert " ".join(name.split()) in found.text
    segments = feature_link.split("/")
    assert len(segments) == 5
    assert not {"", ".", ".."} & set(segments[1:]), "browsers rewrite empty and dot segments"


async def test_hostile_levels_and_words_are_text(start: Start, hub: Hub) -> None:
    bad = "<img src=x onerror=alert(1)>"
    result = one_result("m", verdict="drift")
    verdict = msgspec.structs.replace(result.features[0], before=bad, after=bad, top_bins=[(bad, 0.1, 0.9)])
    hub.publish(msgspec.structs.replace(result, features=[verdict], flags=[bad], version=bad, baseline_id=bad))
    client = await start()
    for path in ("/", "/models/m", "/models/m/features/age"):
        found = await page(client, path)
        assert "img" not in found.tags
        assert found.handlers == []


@pytest.mark.parametrize("path", ["/models/none", "/models/m/features/none", "/nothing", "/models/m/more/than/this"])
async def test_what_is_not_there_is_404_in_words(start: Start, hub: Hub, path: str) -> None:
    hub.publish(one_result("m"))
    client = await start()
    assert "All models" in (await page(client, path, 404)).text
    assert (await data(client, f"/api{path}", 404))["error"]


@pytest.mark.parametrize(
    "query",
    ["n=0", "n=1001", "n=1e3", "n=" + "9" * 50, "from=yesterday", "from=2026-02-01&to=2026-01-01", "scale=0", "at=-5",
     "n=%EF%BC%91", "to=99999999999999999", "slice=" + "x" * 501, "run=" + "y" * 501, "from=0001-01-01"],
)  # fmt: skip
async def test_a_query_out_of_bounds_is_refused_with_the_parameter_named(start: Start, hub: Hub, query: str) -> None:
    hub.publish(one_result("m"))
    client = await start()
    answer = await data(client, f"/api/models/m/features/age?{query}", 400)
    assert answer["error"].startswith(query.partition("=")[0])


async def test_a_range_keeps_to_its_windows_and_end_is_exclusive(start: Start, hub: Hub) -> None:
    for window in range(10):
        hub.publish(one_result("m", window))
    low, high = one_result("m", 2).window_start, one_result("m", 5).window_start
    heat = (await data(await start(), f"/api/models/m?from={low}&to={high}"))["heat"]
    assert heat["starts"] == [one_result("m", w).window_start for w in (2, 3, 4)]


async def test_a_slice_is_shown_by_itself(start: Start, hub: Hub) -> None:
    hub.publish(one_result("m"))
    hub.publish(one_result("m", slice="country=FR", verdict="drift"))
    client = await start()
    assert (await data(client, "/api/models/m"))["summary"]["state"] == "ok"
    assert (await data(client, "/api/models/m?slice=country%3DFR"))["summary"]["state"] == "drift"


async def test_metrics_show_the_given_registry(start: Start) -> None:
    registry = CollectorRegistry()
    Counter("driftgauge_rows", "Rows.", ["model"], registry=registry).labels("m").inc(3)
    response = await (await start(registry=registry)).get("/metrics")
    assert 'driftgauge_rows_total{model="m"} 3.0' in await response.text()
    assert response.content_type == "text/plain"


async def test_plotly_comes_from_the_installed_package_compressed_and_cached(start: Start, hub: Hub) -> None:
    hub.publish(one_result("m"))
    client = await start()
    text = await (await client.get("/models/m")).text()
    path = next(part.split('"')[0] for part in text.split('src="') if "plotly" in part.split('"')[0])
    response = await client.get(path)
    assert response.headers["Content-Encoding"] == "gzip"
    assert "immutable" in response.headers["Cache-Control"]
    assert b"plotly.js" in (await response.read())[:200]


@pytest.mark.parametrize(
    "name", ["..%2Fserver.py", "..%2f..%2fpyproject.toml", "%2Fetc%2Fpasswd", "none.js", "panel.py"]
)
async def test_only_our_static_files_are_served(start: Start, name: str) -> None:
    assert (await (await start()).get(URL(f"/static/0/{name}", encoded=True))).status == 404


async def test_an_overview_of_200_models_of_50_features_takes_under_a_second(start: Start, hub: Hub) -> None:
    features = [f"feature_{i}" for i in range(50)]
    for model in range(200):
        hub.publish(one_result(f"model-{model:03}", verdict="drift" if model % 7 == 0 else "ok", features=features))
    client = await start()
    await page(client, "/alerts")  # the templates are compiled
    began = time.monotonic()
    found = await page(client, "/")
    assert time.monotonic() - began < 1
    assert "29 of 200 models drifting" in found.text


async def test_a_failing_store_is_logged_once_and_so_is_its_return(
    start: Start, history: StoryHistory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.panel.server.Readings", partial(Readings, keep_s=0.0))
    caplog.set_level("INFO", "streams.panel.readings")
    client = await start()
    history.failure = RuntimeError("down")
    for _ in range(3):
        await data(client, "/api/models")
    history.failure = None
    for _ in range(3):
        await data(client, "/api/models")
    said = [record.getMessage() for record in caplog.records if record.name == "streams.panel.readings"]
    assert said == ["history unavailable: RuntimeError: down", "history is available again"]
