"""A valid configuration becomes the arguments of its applications."""

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.database_group import DatabaseGroupArgs
from components.engines import ENGINES
from offline.recorder import run_program
from stacks.config import STACK_FILE_CONFIG_KEY, Stack, load_stack, parse_stack
from stacks.config_source import ConfigSource
from stacks.errors import InvalidStackConfigError, Location
from tests.faulty_stacks import list_locations
from tests.stacks.stack_cases import VALID
from tests.support import (
    CANARY,
    ENCRYPTED,
    ENGINES_WITH_SERVER,
    EXISTING_SERVER,
    NETWORK_ENGINES,
    existing_account,
    external_server,
    groups,
    managed_server,
    provisioned_on,
    record_stack,
    stack_with_group,
    stack_with_provisioned_group,
    to_json_text,
)
