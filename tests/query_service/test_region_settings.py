"""Regions in the configuration: free names, roots apart from each other, one of them the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_audit.query_service.settings import ConfigError, Settings


def load(data_dir: Path, **environment: str) -> Settings:
    return Settings.load(
        data_dir, environment={f"OTEL_AUDIT__REGIONS__{k}": v for k, v in environment.items()}
    )


def test_without_any_the_data_directory_is_the_one_region(tmp_path: Path) -> None:
    assert load(tmp_path).region_roots == {"default": tmp_path}


def test_file_and_environment_name_regions(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[regions]\neu = "/srv/eu"\nus = "/srv/us"\ndefault = "eu"\n')
    settings = Settings.load(
        tmp_path / "data", config=file, environment={"OTEL_AUDIT__REGIONS__EU_WEST_1": "/srv/west/"}
    )
    assert settings.regions == {
        "eu": Path("/srv/eu"),
        "us": Path("/srv/us"),
        "eu-west-1": Path("/srv/west"),
    }
    assert settings.default_region == "eu"
    assert settings.show()["regions"]["eu"] == "/srv/eu"


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"EU": "srv/eu"}, "regions.eu = 'srv/eu'"),
        ({"EU": "/srv/a", "US": "/srv/a"}, "regions.eu"),
        ({"EU": "/srv/a", "US": "/srv/a/b"}, "regions.eu"),
        ({"EU": "/srv/a", "US": "/srv/a/../a"}, "regions.eu"),
        ({"9EU": "/srv/a"}, "'9eu'"),
        ({"E" * 32: "/srv/a"}, "e" * 32),
        ({"DEFAULT": "mars"}, "'mars'"),
        ({"DEFAULT": "/srv/a"}, "'/srv/a'"),
    ],
)
def test_what_cannot_be_is_refused_with_name_value_and_what_is_allowed(
    tmp_path: Path, environment: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, **environment)
    assert named in refused.value.message
    assert "allowed: " in refused.value.hint


@pytest.mark.parametrize("inside", [True, False])
def test_no_root_shares_a_folder_with_the_data_directory_not_even_by_a_link(
    tmp_path: Path, inside: bool
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data" if inside else tmp_path)
    with pytest.raises(ConfigError, match="the data directory"):
        load(tmp_path / "data", EU=str(tmp_path / "link"))
