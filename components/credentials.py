"""A group's password: generated, or given by the user for a server that exists already. Always secret, and stable."""

from dataclasses import dataclass

import pulumi
import pulumi_random as random
from pydantic import SecretStr

__all__ = ["LENGTH", "Generated", "create_password"]

LENGTH = 32
"""Characters of a generated password, from A-Z, a-z and 0-9: safe in SQL, shells, URIs and configuration files, and 190 bits."""

IGNORED = [
    "length",
    "lower",
    "minLower",
    "minNumeric",
    "minSpecial",
    "minUpper",
    "number",
    "numeric",
    "overrideSpecial",
    "special",
    "upper",
]
"""Everything but the rotation: an upgrade of the provider once made every password anew (pulumi-random, issue 258)."""


@dataclass(frozen=True)
class Generated:
    """A password that the program makes, anew with each other rotation."""

    rotation: int


def create_password(name: str, wanted: Generated | SecretStr | None, *, parent: pulumi.Resource) -> pulumi.Output[str] | None:
    """The password of a group as a secret output, or None where its server asks for none.

    Resources: a RandomPassword `name` for a generated one.
    """
    if not isinstance(wanted, Generated):
        return None if wanted is None else pulumi.Output.secret(wanted.get_secret_value())
    password = random.RandomPassword(
        name, length=LENGTH, special=False, keepers={"rotation": str(wanted.rotation)}, opts=pulumi.ResourceOptions(parent=parent, ignore_changes=IGNORED)
    )
    return pulumi.Output.secret(password.result)
