"""The tables of the operations page are what the code says."""

from __future__ import annotations

import re

from streams import permissions, reference
from streams.settings import Settings, variable


def test_the_page_shows_permissions_metrics_and_settings_as_the_code_has_them() -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    assert {mark[2] for mark in reference.MARKED.finditer(page)} == set(reference.TABLES)
    assert reference.written(page) == page, "run `make docs`"


def test_every_setting_says_what_it_means() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]
    assert not silent


def test_a_table_names_every_role_and_every_setting() -> None:
    table = permissions.table()
    assert all(f"`{role}`" in table for role in permissions.TOPICS)
    named = re.findall(r"`(DRIFTGAUGE_\w+)`", reference.settings_table())
    assert named == [variable(name) for name in Settings.model_fields]
