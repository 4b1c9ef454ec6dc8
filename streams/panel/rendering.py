"""The Jinja environment of the pages: autoescaped, strict about names, with the words of `words` as filters."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2

from streams.panel import assets, words

PAGES = Path(__file__).parent / "pages"


@cache
def environment() -> jinja2.Environment:
    """Return the environment every page is rendered with."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters.update(
        number=words.number,
        percent=words.percent,
        times=words.times,
        measured=words.measured,
        reach=words.reach,
        when=words.when,
        iso=words.iso,
        span=words.span,
    )
    env.globals.update(
        model_path=words.model_path,
        feature_path=words.feature_path,
        STATES=words.STATES,
        EXPLAINED=words.EXPLAINED,
        TESTS=words.TESTS,
        FLAGS=words.FLAGS,
        static=assets.versioned,
        plotly_path=assets.PLOTLY_PATH,
        plotly_style_ids=assets.plotly_style_ids(),
    )
    return env


def render(page: str, **values: object) -> str:
    """Render a page of `pages/`."""
    return environment().get_template(page).render(**values)
