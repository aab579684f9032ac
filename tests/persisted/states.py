"""The recorded states of the example stacks."""

from pathlib import Path

STATES = Path(__file__).with_name("states")
STACKS = ("development", "production")
