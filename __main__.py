"""The program that `pulumi up` runs: the stack's configuration, its applications, and what the stack exports."""

import pulumi

from components.application import Application
from stacks.config import load
from stacks.history import previous, refuse_loss
from stacks.reachability import require_reachable

stack, before = load(), previous()
refuse_loss(stack, before)
require_reachable(stack, before)
for warning in stack.warnings:
    pulumi.log.warn(warning)
for application in stack.applications:
    Application(application.name, application)
pulumi.export("applications", stack.outputs())
