"""The store as the settings describe it."""

from __future__ import annotations

from streams.settings import Settings, SettingsError
from streams.sinks.clickhouse import ClickHouse
from streams.sinks.prometheus import Metrics


def store_of(settings: Settings, metrics: Metrics | None = None) -> ClickHouse:
    """Return the store.

    Raises
    ------
    SettingsError
        When no store is configured; the text names both ways out.
    """
    if not settings.clickhouse_url:
        raise SettingsError(
            "DRIFTGAUGE_CLICKHOUSE_URL: no store is configured. Set it to the HTTP address of a ClickHouse server, as "
            "http://127.0.0.1:8123, or install the embedded one with `pip install 'driftgauge[embedded]'` and use "
            "`driftgauge run all --embedded`."
        )
    return ClickHouse(
        settings.clickhouse_url,
        database=settings.clickhouse_database,
        user=settings.clickhouse_user,
        password=settings.clickhouse_password.get_secret_value(),
        on_retry=metrics.retry if metrics else None,
    )
