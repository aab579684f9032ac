"""The password of a group: generated, or the user's own for an existing account. It is always secret, and stable."""

from dataclasses import dataclass

import pulumi
import pulumi_random as random
from pydantic import SecretStr

from components.persisted.names import second_account_resource_name

__all__ = ["PASSWORD_LENGTH", "GeneratedPassword", "Password", "create_password", "list_passwords_in_turn"]

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
    is_of_second_account: bool = False
    """Whether it belongs to the second of two accounts that take turns."""


@dataclass(frozen=True)
class Password:
    """A password, and a random text from which an engine derives the salt of the password's hash."""

    value: pulumi.Output[str]
    salt: pulumi.Output[str] | None = None
    """It changes with the password only. None for a password that Pulumi did not generate."""


def list_passwords_in_turn(version: int) -> tuple[GeneratedPassword, ...]:
    """Return the passwords of two accounts that take turns: each change generates the password of one of them.

    The second account does not exist before the first change. The account in use is the first one for an even
    `version` and the second one for an odd `version`.
    """
    first, second = version - version % 2, version - 1 + version % 2
    accounts = (GeneratedPassword(first), GeneratedPassword(second, is_of_second_account=True))
    return accounts if version else accounts[:1]


def create_password(
    name: str, source: GeneratedPassword | SecretStr | None, *, parent: pulumi.Resource
) -> Password | None:
    """Return the password with secret outputs, or None where the server has no password.

    Resources: a RandomPassword for a generated password, named `name`, or `name-b` for a second account.
    """
    if not isinstance(source, GeneratedPassword):
        return None if source is None else Password(pulumi.Output.secret(source.get_secret_value()))
    password = random.RandomPassword(
        second_account_resource_name(name) if source.is_of_second_account else name,
        length=PASSWORD_LENGTH,
        special=False,
        keepers={VERSION_KEEPER: str(source.version)},
        opts=pulumi.ResourceOptions(parent=parent, ignore_changes=IGNORED_PROPERTIES),
    )
    return Password(pulumi.Output.secret(password.result), pulumi.Output.secret(password.bcrypt_hash))
