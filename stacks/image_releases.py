"""The pinned releases of the official images, and the newest ones in their registries.

Registries have the HTTP API of the OCI distribution specification: a list of tags in pages, for an anonymous token if
the registry requests one. Registries on 127.0.0.1 have no TLS, as for Docker.
"""

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import urljoin

import requests
from requests.utils import parse_dict_header

from components.engines import ENGINES
from components.engines.definition import Releases, Variant

__all__ = ["RegistryError", "describe_new_releases", "find_newest_releases", "render_releases"]

API_HOSTS = {"docker.io": "registry-1.docker.io"}
"""Hosts of registries whose API has another host."""
TIMEOUT_SECONDS = 30
PAGE_SIZE = 1000
MAX_PAGES = 100
"""A list with more pages has no end."""


class RegistryError(Exception):
    """A registry does not have what is needed. The message names the image."""


def find_newest_releases(pinned: Releases) -> Releases:
    """Return the newest release of each series of the official images.

    Raises RegistryError with all errors: a registry fails, or has no release of a series, or older ones only.
    """
    releases: dict[str, dict[str, str]] = {}
    errors = []
    for variant in (variant for engine in ENGINES.values() for variant in engine.variants):
        if variant.image is None:
            continue
        try:
            tags = list(_list_tags(variant.image))
            newest = {series: _select_newest(variant, series, tags) for series in variant.supported_series}
        except RegistryError as error:
            errors.append(f"{variant.image}: {error}")
            continue
        old = pinned.get(variant.image, {})
        errors += [
            f"{variant.image}: the newest release of {series} is {release}, older than the pinned {old[series]};"
            " remove the pinned one to use it"
            for series, release in newest.items()
            if series in old and _read_numbers(release) < _read_numbers(old[series])
        ]
        releases[variant.image] = newest
    if errors:
        raise RegistryError("\n".join(errors))
    return releases


def describe_new_releases(old: Releases, new: Releases) -> Iterator[str]:
    """Yield a line for each series with another release."""
    for image, releases in new.items():
        for series, release in releases.items():
            previous = old.get(image, {}).get(series, "none")
            if previous != release:
                yield f"{image} {series}: {previous} -> {release}"


def render_releases(releases: Releases) -> str:
    """Return the content of the file of pinned releases."""
    return json.dumps(releases, indent=2) + "\n"


def _select_newest(variant: Variant, series: str, tags: Iterable[str]) -> str:
    """Return the newest release of a series among the tags of an image. Raises RegistryError without one."""
    releases = [
        tag
        for tag in tags
        if re.fullmatch(r"[0-9]+(\.[0-9]+)*", tag) and variant.is_release(tag) and variant.find_series(tag) == series
    ]
    if not releases:
        raise RegistryError(f"the registry has no release of the series {series}")
    return max(releases, key=_read_numbers)


def _read_numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def _list_tags(image: str) -> Iterator[str]:
    """Yield the tags of an image. Raises RegistryError if the registry does not list them."""
    host, _, repository = image.partition("/")
    host = API_HOSTS.get(host, host)
    scheme = "http" if host.startswith("127.0.0.1:") else "https"
    url = f"{scheme}://{host}/v2/{repository}/tags/list?n={PAGE_SIZE}"
    try:
        with requests.Session() as session:
            for _ in range(MAX_PAGES):
                response = _fetch_page(session, url)
                yield from map(str, response.json()["tags"] or ())
                if "next" not in response.links:
                    return
                url = urljoin(url, response.links["next"]["url"])
    except (requests.RequestException, LookupError, TypeError, ValueError) as error:
        raise RegistryError(f"the registry does not list the tags: {error}") from error
    raise RegistryError(f"the registry lists more than {MAX_PAGES} pages of tags")


def _fetch_page(session: requests.Session, url: str) -> requests.Response:
    """Return a page of tags. If the registry requests a token, the session gets a new one."""
    response = session.get(url, timeout=TIMEOUT_SECONDS)
    scheme, _, parameters = response.headers.get("WWW-Authenticate", "").partition(" ")
    if response.status_code == requests.codes.unauthorized and scheme.lower() == "bearer":
        challenge = parse_dict_header(parameters)
        realm = challenge.pop("realm") or ""
        answer = requests.get(realm, params=challenge, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        token = answer.json()
        session.headers["Authorization"] = f"Bearer {token.get('token') or token['access_token']}"
        response = session.get(url, timeout=TIMEOUT_SECONDS)
    response.raise_for_status()
    return response
