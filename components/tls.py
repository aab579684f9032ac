"""TLS of connections to external servers: the modes, and the certificates of a server's CA."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

__all__ = ["ENCRYPTED_TLS_MODES", "READ_FILE_KEY", "VERIFY_FULL", "CaBundle", "CaBundleFile", "TlsMode"]

TlsMode = Literal["disable", "require", "verify-full"]
"""The modes of libpq. `disable`: no TLS. `require`: TLS with any certificate. `verify-full`: TLS with a verified
certificate and host name."""
VERIFY_FULL: TlsMode = "verify-full"
ENCRYPTED_TLS_MODES: tuple[TlsMode, ...] = ("require", VERIFY_FULL)
PEM_CERTIFICATE_RE = re.compile(r"-----BEGIN CERTIFICATE-----\s[^-]+-----END CERTIFICATE-----")
READ_FILE_KEY = "read_file"
"""Key of the validation context: a function that returns the text of a file. Components read no files themselves."""


@dataclass(frozen=True)
class CaBundle:
    """The certificates of the CAs that sign a server's certificate."""

    path: str
    """Path of the file, relative to the project directory."""
    pem: str = field(repr=False)
    """Content of the file (RFC 7468)."""


def _load_ca_bundle(value: Any, info: ValidationInfo) -> CaBundle:
    """Return the bundle of a path. The parser calls it, so that a bad file is reported with all other errors."""
    if not isinstance(value, str) or not value:
        raise PydanticCustomError("ca_file", "expected a path, for example `stacks/ca.pem`")
    read_file: Callable[[str], str] = (info.context or {})[READ_FILE_KEY]
    try:
        pem = read_file(value)
    except OSError as error:
        raise PydanticCustomError(
            "ca_file",
            "cannot read the file{value} ({reason}); paths are relative to the project directory, for example"
            " `stacks/ca.pem`",
            {"reason": (error.strerror or type(error).__name__).lower()},
        ) from None
    except UnicodeDecodeError:
        raise PydanticCustomError("ca_file", "the file is not text; use a PEM file with certificates") from None
    if "PRIVATE KEY" in pem:
        raise PydanticCustomError(
            "ca_file", "the file contains a private key; use a file that contains only CA certificates"
        )
    if not PEM_CERTIFICATE_RE.search(pem):
        raise PydanticCustomError(
            "ca_file", "the file contains no certificate; use a PEM file with `-----BEGIN CERTIFICATE-----`"
        )
    return CaBundle(value, pem)


CaBundleFile = Annotated[CaBundle, BeforeValidator(_load_ca_bundle), WithJsonSchema({"type": "string", "minLength": 1})]
