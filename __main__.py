"""The program that `pulumi up` runs: load the stack, check it, create its applications, export its outputs."""

import pulumi

from components.application import Application
from components.workload_patches import forget_removed_workloads
from stacks.change_guard import require_safe_update
from stacks.config import load_cluster_config, load_stack
from stacks.external_server_checks import require_reachable
from stacks.previous_state import read_previous_state
from stacks.workload_discovery import resolve_workloads

stack, previous = load_stack(), read_previous_state()
require_safe_update(stack, previous)
require_reachable(stack, previous)
stack = resolve_workloads(stack, load_cluster_config(), previous)
for warning in stack.warnings:
    pulumi.log.warn(warning)
for application in stack.applications:
    Application(application)
forget_removed_workloads(stack.removed_workloads)
pulumi.export("applications", stack.outputs)
