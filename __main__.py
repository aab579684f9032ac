"""The program that `pulumi up` runs: load the stack, check it, create its applications, export its outputs."""

import pulumi

from components.application import create_applications
from components.workload_patches import forget_removed_workloads
from stacks.alert_discovery import resolve_alerts
from stacks.change_guard import require_safe_update
from stacks.config import load_cluster_config, load_stack, log_warnings
from stacks.preflight_checks import require_preflight
from stacks.previous_state import collect_component_outputs, collect_recorded_objects, read_previous_resources
from stacks.workload_discovery import resolve_workloads

stack, cluster, resources = load_stack(), load_cluster_config(), read_previous_resources()
previous = collect_component_outputs(resources)
require_safe_update(stack, previous)
stack = resolve_alerts(stack, cluster, collect_recorded_objects(resources))
require_preflight(stack, cluster, resources)
stack = resolve_workloads(stack, cluster, previous)
log_warnings(stack)
create_applications(stack.applications)
forget_removed_workloads(stack.removed_workloads)
pulumi.export("applications", stack.outputs)
