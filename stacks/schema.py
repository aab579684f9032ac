"""`python -m stacks.schema` writes `stacks/schema.json`, the JSON schema of a stack file, from the models that parse it."""

import json
from pathlib import Path
from typing import Any

from stacks.config import PROJECT, stack_json_schema

__all__ = ["SCHEMA_PATH", "build_schema_document", "render_schema"]

SCHEMA_PATH = Path(__file__).with_name("schema.json")


def build_schema_document() -> dict[str, Any]:
    """The schema of a whole stack file (JSON Schema 2020-12), for editors."""
    model = dict(stack_json_schema())
    definitions = model.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stack file of database-groups",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": {f"{PROJECT}:{key}": value for key, value in model["properties"].items()},
                "required": [f"{PROJECT}:{key}" for key in model["required"]],
            }
        },
        "required": ["config"],
        "$defs": definitions,
    }


def render_schema() -> str:
    """The content of the file."""
    return json.dumps(build_schema_document(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(render_schema())
