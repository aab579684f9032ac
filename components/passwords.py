"""A group's password: generated, or given by the user for a server that exists already. Always secret, and stable."""

from dataclasses import dataclass

import pulumi
import pulumi_random as random
from pydantic import SecretStr

__all__ = ["PASSWORD_LENGTH", "GeneratedPassword", "create_password"]

PASSWORD_LENGTH = 32
"""Characters of a generated password, from A-Z, a-z and 0-9: safe in SQL, shells, URIs and configuration files, and 190 bits."""

IGNORED_PROPERTIES = [
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
class GeneratedPassword:
    """A password that the program makes, anew with each other rotation."""

    version: int


def create_password(
    name: str, source: GeneratedPassword | SecretStr | None, *, parent: pulumi.Resource
) -> pulumi.Output[str] | None:
    """The password of a group as a secret output, or None where its server asks for none.

    Resources: a RandomPassword `name` for a generated one.
    """
    if not isinstance(source, GeneratedPassword):
        return None if source is None else pulumi.Output.secret(source.get_secret_value())
    password = random.RandomPassword(
        name,
        length=PASSWORD_LENGTH,
        special=False,
        keepers={"rotation": str(source.version)},
        opts=pulumi.ResourceOptions(parent=parent, ignore_changes=IGNORED_PROPERTIES),
    )
    return pulumi.Output.secret(password.result)
