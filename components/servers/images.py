"""What an image reference states: the product in its last name, and the release in its tag."""

import re
from collections.abc import Iterator

from components.engines.definition import Engine, Variant

__all__ = ["resolve_version", "validate_image"]

RELEASE_RE = re.compile(r"v?([0-9]+(\.[0-9]+)*)")
"""The release at the start of a tag, such as `8.4.3` in `8.4.3-oraclelinux9`."""


def resolve_version(variant: Variant, version: str | None, image: str | None) -> str:
    """Return the release of the user's image, otherwise its version. The official image has the pinned release."""
    version = version or variant.default_version
    if image is None:
        return variant.find_release(version)
    release = _read_release(image)
    return release if release and variant.find_series(release) else version


def validate_image(engine: Engine, variant: Variant, version: str | None, image: str) -> Iterator[tuple[str, str]]:
    """Return an error for an image of another series, release or variant, and for one whose series is not known."""
    name, release = _read_name(image), _read_release(image)
    series = variant.find_series(version or variant.default_version)
    image_series = variant.find_series(release) if release else None
    other = next((other for other in engine.variants if other is not variant and _has_image(other, name)), None)
    if other:
        yield "image", f"'{name}' is the image of {other.name}; set `variant: {other.name}`"
    elif release and not image_series and _has_image(variant, name):
        yield "image", f"release {release} of {variant.name} is not supported; use a release of {series}"
    elif image_series and image_series != series:
        yield "image", f'release {release} is not of the series {series}; set `version: "{image_series}"`'
    elif image_series and version and not _is_same_release(version, release or ""):
        yield "image", f"release {release} is not `version: {version}`; remove `version`, or use an image of {version}"
    elif version is None and not (image_series and _has_image(variant, name)) and variant.image:
        yield "image", f'does not state a release of {variant.name}; set `version`, for example "{series}"'


def _read_name(image: str) -> str:
    """Return the last name of the repository: `mysql` for `registry.example.org/library/mysql:8.4`."""
    return re.split("[:@]", image.rsplit("/", maxsplit=1)[-1])[0]


def _read_release(image: str) -> str | None:
    """Return the release at the start of the tag, or None."""
    _, _, tag = image.rsplit("/", maxsplit=1)[-1].partition("@")[0].partition(":")
    match = RELEASE_RE.match(tag)
    return match[1] if match else None


def _has_image(variant: Variant, name: str) -> bool:
    return variant.image is not None and variant.image.rsplit("/", maxsplit=1)[-1] == name


def _is_same_release(first: str, second: str) -> bool:
    """Return whether two versions are equal, or one is the series of the other."""
    return f"{first}.".startswith(f"{second}.") or f"{second}.".startswith(f"{first}.")
