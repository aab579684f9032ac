"""`python -m stacks.schema` writes `stacks/schema.json`, the JSON schema of a stack file, from the models that parse it."""

import json
from pathlib import Path
from typing import Any

from stacks.config import PROJECT, schema

__all__ = ["PATH", "document", "text"]

PATH = Path(__file__).with_name("schema.json")


def document() -> dict[str, Any]:
    """The schema of a whole stack file (JSON Schema 2020-12), for editors."""
    model = dict(schema())
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


def text() -> str:
    """The content of the file."""
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
