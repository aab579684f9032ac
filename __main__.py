"""The program that `pulumi up` runs: the stack's configuration, its applications, and what the stack exports."""

import pulumi

from components.application import Application
from stacks.config import load
from stacks.history import previous, refuse_loss

stack = load()
refuse_loss(stack, previous())
for warning in stack.warnings:
    pulumi.log.warn(warning)
for application in stack.applications:
    Application(application.name, application)
pulumi.export("applications", stack.outputs())
