"""The password of a group: generated, or the user's own for an existing account. It is always secret, and stable."""

from dataclasses import dataclass

import pulumi
import pulumi_random as random
from pydantic import SecretStr

__all__ = ["PASSWORD_LENGTH", "GeneratedPassword", "create_password"]

PASSWORD_LENGTH = 32
"""Characters A-Z, a-z and 0-9: safe in SQL, shells, URIs and configuration files, with 190 bits of entropy."""
VERSION_KEEPER = "passwordVersion"
"""Key in the state: Pulumi generates a new password when its value changes."""
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
"""Everything but the keepers: a provider upgrade once regenerated every password (pulumi-random, issue 258)."""


@dataclass(frozen=True)
class GeneratedPassword:
    """A password that Pulumi generates. Another `version` generates another password."""

    version: int


def create_password(
    name: str, source: GeneratedPassword | SecretStr | None, *, parent: pulumi.Resource
) -> pulumi.Output[str] | None:
    """Return the password as a secret output, or None where the server has no password.

    Resources: a RandomPassword `name` for a generated password.
    """
    if not isinstance(source, GeneratedPassword):
        return None if source is None else pulumi.Output.secret(source.get_secret_value())
    password = random.RandomPassword(
        name,
        length=PASSWORD_LENGTH,
        special=False,
        keepers={VERSION_KEEPER: str(source.version)},
        opts=pulumi.ResourceOptions(parent=parent, ignore_changes=IGNORED_PROPERTIES),
    )
    return pulumi.Output.secret(password.result)
