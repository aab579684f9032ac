"""The program that `pulumi up` runs: the stack's configuration, its applications, and what the stack exports."""

import pulumi

from components.application import Application
from stacks.config import load

stack = load()
for warning in stack.warnings:
    pulumi.log.warn(warning)
for application in stack.applications:
    Application(application.name, application)
pulumi.export("applications", stack.outputs())
