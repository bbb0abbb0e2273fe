"""One frozen settings object a process: config file < environment < flags, read once.

File: TOML, `[section] key = value`. Environment: `OTEL_AUDIT__SECTION__KEY`. An error names the
setting, the value and what is allowed.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from otel_audit.exporter.store.partition import DEFAULT_REGION, REGION_PATTERN
from otel_audit.instrumentation.errors import AuditError

# As for a shorter retention: who stole an administrator's session cannot have the trail deleted unnoticed.
RELEASE_DELAY_S: Final = 7 * 86_400.0
ENVIRONMENT_PREFIX: Final = "OTEL_AUDIT__"


class ConfigError(AuditError):
    """A setting that cannot be used; nothing was started."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. key: `section.name`; parse: text or TOML value → value, ValueError when not allowed."""

    key: str
    parse: Callable[[Any], Any]
    allowed: str
    meaning: str

    @property
    def environment(self) -> str:
        return ENVIRONMENT_PREFIX + self.key.replace(".", "__").upper()


def _listener(value: Any) -> str:
    host, colon, port = str(value).rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError
    return f"{host}:{int(port)}"


def _url(value: Any) -> str:
    if not re.fullmatch(r"https?://[^/\s?#]+", str(value).rstrip("/")):
        raise ValueError
    return str(value).rstrip("/")


def _several(item: Callable[[Any], str]) -> Callable[[Any], tuple[str, ...]]:
    def parse(value: Any) -> tuple[str, ...]:
        items = value.split(",") if isinstance(value, str) else value
        return tuple(item(part.strip()) for part in items if part.strip())

    return parse


def _network(value: Any) -> str:
    return str(ip_network(value, strict=False))


def _number(low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        if isinstance(value, bool) or not low <= float(value) <= high:
            raise ValueError
        return float(value)

    return parse


def _flag(value: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return words[str(value).lower()]


def _root(value: Any) -> Path:
    if not isinstance(value, str) or not Path(value).is_absolute():
        raise ValueError
    return Path(os.path.normpath(value))


def _region(value: Any) -> str:
    if not REGION_PATTERN.fullmatch(str(value)):
        raise ValueError
    return str(value)


_HOST_PORT: Final = "HOST:PORT, port 0 picks a free one"

_SWITCH: Final = "true or false"
_PLAIN: Final = "allow plain text beyond loopback"

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("otlp_grpc.bind", _listener, _HOST_PORT, "where OTLP/gRPC is taken"),
    Setting("otlp_grpc.insecure", _flag, _SWITCH, _PLAIN),
    Setting("otlp_http.bind", _listener, _HOST_PORT, "where OTLP/HTTP is taken"),
    Setting("otlp_http.insecure", _flag, _SWITCH, _PLAIN),
    Setting("http.bind", _listener, _HOST_PORT, "where API and console are served"),
    Setting("http.insecure", _flag, _SWITCH, _PLAIN),
    Setting("http.public_url", _url, "http(s)://host[:port]", "address people use, with a proxy in front"),
    Setting("http.allowed_origins", _several(_url), "origins", "other pages that may open the stream"),
    Setting("http.trusted_proxies", _several(_network), "networks", "peers whose X-Forwarded-For counts"),
    Setting("metrics.bind", _listener, _HOST_PORT, "where /metrics is served"),
    Setting("metrics.insecure", _flag, _SWITCH, _PLAIN),
    Setting("store.seal_interval_s", _number(1, 86400), "1 to 86400", "age at which hot rows are sealed"),
    Setting("store.seal_rows", _number(1, 1e7), "1 to 10,000,000", "or at so many rows a tenant"),
    Setting("store.seal_bytes", _number(1e4, 1e9), "10,000 to 1,000,000,000", "or at this size a tenant"),
    Setting(
        "retention.hold_release_delay_s",
        _number(0, 31_536_000),
        "0 to 31,536,000",
        "how long a released hold still holds",
    ),
    Setting("query.memory_limit_mb", _number(64, 1e6), "64 to 1,000,000", "memory of the query engine"),
    Setting("query.threads", _number(1, 256), "1 to 256", "threads of the query engine"),
    Setting("regions.default", _region, "name of a region", "where tenants are that name none"),
    Setting("regions.<name>", _root, "an absolute path, apart from every other root", "root of a region"),
)
_BY_KEY: Final = {setting.key: setting for setting in SETTINGS}
_REGION_PREFIX: Final = "regions."
_DEFAULT_REGION_KEY: Final = "regions.default"


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults are safe on a laptop: loopback only, plain text."""

    data_dir: Path
    otlp_grpc: str = "127.0.0.1:4317"
    otlp_http: str = "127.0.0.1:4318"
    http: str = "127.0.0.1:8080"
    metrics: str = "127.0.0.1:9464"
    insecure: frozenset[str] = frozenset()
    public_url: str | None = None
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    seal_interval_s: float = 600.0
    seal_rows: int = 25_000
    seal_bytes: int = 64 << 20
    hold_release_delay_s: float = RELEASE_DELAY_S
    memory_limit_mb: int = 1024
    threads: int = 2
    regions: Mapping[str, Path] = field(default_factory=dict)
    default_region: str = DEFAULT_REGION

    @property
    def region_roots(self) -> dict[str, Path]:
        """Region → root, the data directory's own included."""
        return {DEFAULT_REGION: self.data_dir, **self.regions}

    @classmethod
    def load(
        cls,
        data_dir: Path,
        *,
        config: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        flags: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Read all three sources. flags: `section.name` → value, None is "not given".

        Raises ConfigError for an unknown setting, a value out of range, or an open listener.
        """
        values = _from_file(config) if config else {}
        values |= _from_environment(environment)
        values |= {key: value for key, value in (flags or {}).items() if value is not None}
        found = {key: _parse(key, value) for key, value in values.items()}
        regions = {_region_name(key): found.pop(key) for key in list(found) if _is_root(key)}
        fields = {_field(key): value for key, value in found.items() if not key.endswith(".insecure")}
        fields = {name: int(value) if name in _INTEGERS else value for name, value in fields.items()}
        insecure = frozenset(
            key.partition(".")[0] for key, on in found.items() if key.endswith(".insecure") and on
        )
        settings = cls(data_dir=data_dir, insecure=insecure, regions=regions, **fields)
        settings._refuse_mixed_regions()
        settings._refuse_open_listeners()
        return settings

    def _refuse_open_listeners(self) -> None:
        for name in ("otlp_grpc", "otlp_http", "http", "metrics"):
            bind = getattr(self, name)
            if not _is_loopback(bind.rpartition(":")[0]) and name not in self.insecure:
                raise ConfigError(
                    f"{name}.bind = {bind} is reachable from other machines in plain text",
                    hint=f"put TLS in front of it and set {name}.insecure = true, or bind 127.0.0.1",
                )

    def _refuse_mixed_regions(self) -> None:
        if self.default_region not in self.region_roots:
            raise ConfigError(
                f"{_DEFAULT_REGION_KEY} = {self.default_region!r} is no region",
                hint=f"allowed: {', '.join(self.region_roots)}",
            )
        # Resolved: two names of one folder would put two regions into it.
        real = {name: root.resolve() for name, root in self.region_roots.items()}
        for name, root in self.regions.items():
            for other, path in real.items():
                if other != name and (path.is_relative_to(real[name]) or real[name].is_relative_to(path)):
                    what = "the data directory" if other == DEFAULT_REGION else f"regions.{other}"
                    raise ConfigError(
                        f"regions.{name} = '{root}' shares a folder with {what}, {path}",
                        hint="allowed: absolute paths of which none is, holds or lies in another",
                    )

    def show(self) -> dict[str, Any]:
        """All values as plain data, for `config show`."""
        data = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        regions = {name: str(root) for name, root in self.regions.items()}
        plain = {"data_dir": str(self.data_dir), "insecure": sorted(self.insecure), "regions": regions}
        return data | plain


_INTEGERS: Final = frozenset({"seal_rows", "seal_bytes", "memory_limit_mb", "threads"})


def _field(key: str) -> str:
    if key == _DEFAULT_REGION_KEY:
        return "default_region"
    section, _, name = key.partition(".")
    return section if name == "bind" else name


def _is_root(key: str) -> bool:
    return key.startswith(_REGION_PREFIX) and key != _DEFAULT_REGION_KEY


def _region_name(key: str) -> str:
    name = key.removeprefix(_REGION_PREFIX)
    if not REGION_PATTERN.fullmatch(name):
        raise ConfigError(
            f"{name[:80]!r} cannot be the name of a region",
            hint="allowed: a-z, 0-9 and -, a letter first, at most 31",
        )
    return name


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _from_file(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint="it must be a TOML file") from error
    flat: dict[str, Any] = {}
    for section, values in data.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{section} is outside of a [section]", hint="see docs/operations.md")
        flat |= {f"{section}.{name}": value for name, value in values.items()}
    return flat


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        _key_of(name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }


def _key_of(name: str) -> str:
    # A shell's variables cannot have a hyphen, a region's name cannot have an underscore.
    return name.replace("_", "-") if name.startswith(_REGION_PREFIX) else name


def _parse(key: str, value: Any) -> Any:
    setting = _BY_KEY["regions.<name>"] if _is_root(key) else _BY_KEY.get(key)
    if setting is None:
        raise ConfigError(f"{key} is not a setting", hint=f"one of: {', '.join(_BY_KEY)}")
    try:
        return setting.parse(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{key} = {value!r} cannot be used", hint=f"allowed: {setting.allowed}") from error
