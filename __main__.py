"""The program that `pulumi up` runs: the stack's configuration, its applications, and what the stack exports."""

import pulumi

from components.application import Application
from components.workloads import part_with
from stacks.config import cluster_keys, load
from stacks.history import previous, refuse_loss
from stacks.reachability import require_reachable
from stacks.workloads import located

stack, before = load(), previous()
refuse_loss(stack, before)
require_reachable(stack, before)
stack = located(stack, cluster_keys(), before)
for warning in stack.warnings:
    pulumi.log.warn(warning)
for application in stack.applications:
    Application(application.name, application)
part_with(stack.parted)
pulumi.export("applications", stack.outputs())
