"""Names of images: the grammar of the distribution project's `reference` package.

reference   = name [":" tag] ["@" digest]
name        = [domain "/"] path
domain      = host [":" port]            docker.io when it is left out, or what registries.toml says
path        = component ("/" component)* on docker.io, one component means library/<component>
component   = [a-z0-9]+ (("." | "_" | "__" | "-"+) [a-z0-9]+)*
tag         = [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
digest      = algorithm ":" hex
"""

from __future__ import annotations

import functools

from pycontain.errors import InvalidOption
from pycontain.runtime.sizes import string
from pycontain.types import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

__all__ = ["HOST", "Reference", "id_prefix", "is_digest", "parse", "parse_tag"]

HOST = "host"  # this machine's own image

_DEFAULT_DOMAIN = "docker.io"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_DEFAULT_TAG = "latest"
_LONGEST_PATH = 255
_LONGEST_TEXT = 4096
_HEX = frozenset("0123456789abcdef")
_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}


class Reference(Value):
    """The name of an image, complete: `str()` gives it back in full, `familiar` as people write it.

    >>> parse("alpine:3.20")
    Reference(domain='docker.io', path='library/alpine', tag='3.20', digest=None)

    Attributes:
        domain: the registry's host, with its port if any.
        path: the repository in that registry.
        tag: None when there is none; `with_default_tag` adds `latest`.
        digest: `<algorithm>:<hex>` or None.
    """

    __slots__ = ("domain", "path", "tag", "digest")  # noqa: RUF023 - the constructor's order
    domain: str
    path: str
    tag: str | None
    digest: str | None

    def __init__(self, domain: str, path: str, tag: str | None = None, digest: str | None = None) -> None:
        self._set(domain=domain, path=path, tag=tag, digest=digest)

    @property
    def repository(self) -> str:
        """Domain and path: `docker.io/library/alpine`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """Without what docker leaves out: `alpine`."""
        if self.domain != _default_domain():
            return self.repository
        if self.domain != _DEFAULT_DOMAIN:
            first, slash, _ = self.path.partition("/")
            # as a whole it may look like a name with another registry: then it has to be given in full
            return self.repository if slash and ("." in first or first == "localhost") else self.path
        official = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in official else official

    @property
    def familiar(self) -> str:
        """As people write it: `alpine:3.20`."""
        return self.familiar_repository + self._suffix()

    @property
    def key(self) -> str:
        """What the store files an image under: a digest wins over a tag, and `latest` stands for neither."""
        if self.digest:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag or _DEFAULT_TAG}"

    @classmethod
    def of_key(cls, key: str) -> Reference:
        """The reference of a key, which was parsed before: without the grammar, for lists of thousands."""
        name, _, digest = key.partition("@")
        tag = None
        if not digest:
            name, _, tag = name.rpartition(":")
        domain, _, path = name.partition("/")
        return cls(domain, path, tag, digest or None)

    def with_default_tag(self) -> Reference:
        """The same with the tag `latest`, unless it has a tag or a digest."""
        if self.tag or self.digest:
            return self
        return Reference(self.domain, self.path, _DEFAULT_TAG)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.repository + self._suffix()


def parse(text: str) -> Reference:
    """The reference that `text` is.

    Raises:
        InvalidOption: it is none; the reason in docker's words.
    """
    return _parse(string("image", text))


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> Reference:
    if len(text) == 64 and _HEX.issuperset(text):
        raise InvalidOption(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    if len(text) > _LONGEST_TEXT:
        raise InvalidOption(f"invalid reference format: longer than {_LONGEST_TEXT} characters")
    domain, rest = _split_domain(text)
    name = rest.partition(":")[0]
    if name.lower() != name:
        tail = rest[len(name) :]
        is_all = _grammar().fullmatch(f"{domain}/{name.lower()}{tail}")
        raise InvalidOption(
            f"invalid reference format: repository name ({name}) must be lowercase",
            hint=f"did you mean `{text[: len(text) - len(tail)].lower()}{tail}`?" if is_all else None,
        )
    match = _grammar().fullmatch(f"{domain}/{rest}")
    if match is None:
        raise InvalidOption(
            f"invalid reference format: `{text}`", hint="a reference is [REGISTRY/]NAME[:TAG][@DIGEST]"
        )
    domain, path, tag, digest = match.groups()
    if len(path) > _LONGEST_PATH:
        raise InvalidOption(
            f"invalid reference format: repository name must not be more than {_LONGEST_PATH} characters"
        )
    if digest is not None:
        _check_digest(digest)
    return Reference(domain, path, tag, digest)


def parse_tag(text: str, verb: str) -> Reference:
    """The name that `text` is, for an image that somebody gives it here; `verb`: how.

    Raises:
        InvalidOption: it is none, ends in a digest, or would stand for something else already.
    """
    reference = parse(text)
    if reference.digest:
        raise InvalidOption(f"cannot {verb} as `{text}`: a name with a digest is given by its registry")
    if reference.familiar_repository == "sha256":
        raise InvalidOption(
            f"cannot {verb} as `{text}`: refusing to create an ambiguous tag using digest algorithm as name"
        )
    if reference.key == parse(HOST).key:
        raise InvalidOption(f"cannot {verb} as `{HOST}`: that is this machine's own image")
    return reference


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash:
        return _completed(text)
    if first == _LEGACY_DOMAIN:
        first = _DEFAULT_DOMAIN
    elif not (first == "localhost" or "." in first or ":" in first or first.lower() != first):
        return _completed(text)
    if first == _DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return first, rest


def _completed(path: str) -> tuple[str, str]:
    """The domain of a name that has none; on docker.io a path of one component is an official image's."""
    domain = _default_domain()
    return domain, _OFFICIAL + path if domain == _DEFAULT_DOMAIN and "/" not in path else path


@functools.cache
def _default_domain() -> str:
    from pycontain.registry.settings import default_registry

    domain = default_registry()
    if domain != _DEFAULT_DOMAIN and ("/" in domain or not _grammar().fullmatch(f"{domain}/a")):
        raise InvalidOption(
            f"registries.toml: `default` is no registry: `{domain}`", hint="a registry is HOST[:PORT]"
        )
    return domain


@functools.cache
def _grammar() -> re.Pattern[str]:
    import re

    label = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
    host = rf"(?:{label}(?:\.{label})*|\[[a-fA-F0-9:]+\])"
    component = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
    digest = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
    return re.compile(
        rf"({host}(?::[0-9]+)?)/({component}(?:/{component})*)"
        rf"(?::([0-9A-Za-z_][0-9A-Za-z_.-]{{0,127}}))?(?:@({digest}))?"
    )


def _check_digest(digest: str) -> None:
    algorithm, _, hexadecimal = digest.partition(":")
    if algorithm not in _HEX_LENGTH:
        raise InvalidOption(f"invalid reference format: unsupported digest algorithm `{algorithm}`")
    if len(hexadecimal) != _HEX_LENGTH[algorithm]:
        raise InvalidOption(f"invalid reference format: invalid checksum digest length of `{digest}`")
    if not _HEX.issuperset(hexadecimal):
        raise InvalidOption(f"invalid reference format: invalid checksum digest format of `{digest}`")


def is_digest(text: str) -> bool:
    """Whether `text` is `sha256:` and 64 lower-case hexadecimal digits: what ids and blobs are named by."""
    return len(text) == 71 and text.startswith("sha256:") and _HEX.issuperset(text[7:])


def id_prefix(text: str) -> str | None:
    """`sha256:…`, where `text` is an image's id or the beginning of one; else None.

    >>> id_prefix("c0ffee"), id_prefix("alpine")
    ('sha256:c0ffee', None)
    """
    hexadecimal = string("image", text).removeprefix("sha256:")
    if 0 < len(hexadecimal) <= 64 and _HEX.issuperset(hexadecimal):
        return "sha256:" + hexadecimal
    return None
