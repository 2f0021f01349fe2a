"""Settings come from the file, then the environment; what is not a setting is refused with the known names."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonroom import settings
from commonroom.problems import Problem


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "commonroom.yaml").write_text("hub_port: 9001\nportal_port: 9002\n")
    monkeypatch.setenv("COMMONROOM_PORTAL_PORT", "9003")
    found = settings.load(tmp_path)
    assert (found.hub_port, found.portal_port) == (9001, 9003)
    assert found.hub_url == "http://127.0.0.1:9001"
    assert found.data == tmp_path


@pytest.mark.parametrize("text", ["hub_prot: 9001", "hub_port: nine", "mode: test", "- hub_port"])
def test_a_wrong_setting_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "commonroom.yaml").write_text(text)
    with pytest.raises(Problem, match=r"commonroom\.yaml"):
        settings.load(tmp_path)


def test_keys_are_the_owners_alone(tmp_path: Path) -> None:
    assert settings.load(tmp_path).folder("keys").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "address",
    [
        "duckdb",
        "spark://a.example:7077",
        "spark://a:7077,b:7077",
        "sc://[::1]:15002",
        "sc://sail:50051/;use_ssl=true",
    ],
)
def test_an_engine_of_measures_has_an_address(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COMMONROOM_ANALYTICS", address)
    assert settings.load(tmp_path).analytics == address


@pytest.mark.parametrize(
    "line",
    [
        "analytics: spark",
        "analytics: local[2]",
        "analytics: spark://a",
        "analytics: sc://a:1/;token=secret",
        "analytics: http://a:1",
        "analytics_folder: /mnt/warehouse",
        "warehouse_store: /mnt/warehouse",
        "warehouse_store: file:///mnt/warehouse",
        "warehouse_store: s3://key:secret@bucket/prefix",
        "warehouse_store: s3://bucket/prefix?aws_secret_access_key=secret",
        "warehouse_store: s3://bucket/../other",
    ],
)
def test_a_wrong_engine_or_store_of_measures_is_refused_without_repeating_it(
    tmp_path: Path, line: str
) -> None:
    (tmp_path / "commonroom.yaml").write_text(line)
    with pytest.raises(Problem, match=r"commonroom\.yaml: `(analytics|warehouse_store)") as raised:
        settings.load(tmp_path)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("line", ["duckdb_memory_mb: 0", "duckdb_threads: 0", "warehouse_cache_bytes: -1"])
def test_an_engine_without_memory_or_threads_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "commonroom.yaml").write_text(line)
    with pytest.raises(Problem, match="CR-002"):
        settings.load(tmp_path)


@pytest.mark.parametrize(
    "address", ["s3://bucket", "s3://bucket/a/b-1/", "gs://bucket/prefix", "az://container/p"]
)
def test_the_warehouse_may_lie_in_an_object_store(address: str, tmp_path: Path) -> None:
    (tmp_path / "commonroom.yaml").write_text(f"warehouse_store: {address}\nwarehouse_cache_bytes: 1000")
    found = settings.load(tmp_path)
    assert (found.warehouse_store, found.warehouse_cache_bytes) == (address, 1000)
