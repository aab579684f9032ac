"""`rendered/<stack>/index.html`: a page that loads nothing and allows only its own script."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, StrictUndefined, select_autoescape

from offline.picture import draw_application
from offline.summary import format_count
from offline.view import StackView

__all__ = ["render_page"]

FOLDER = Path(__file__).parent
MAX_OPEN_APPLICATIONS = 3
"""The page of a larger stack shows the applications collapsed."""


def render_page(view: StackView) -> str:
    """Return the page of a stack. The template escapes every value."""
    environment = Environment(
        autoescape=select_autoescape(default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = format_count
    template, style, script = ((FOLDER / f"page.{suffix}").read_text("utf-8") for suffix in ("html", "css", "js"))
    return environment.from_string(template).render(
        view=view,
        draw=draw_application,
        is_open=len(view.applications) <= MAX_OPEN_APPLICATIONS,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
