"""A Milvus server behind TLS, a password and a database of its own, as clusters are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands import mmrag, refused, told
from media_made import picture
from milvus_servers import ROOT_TOKEN, real_server
from mmrag_plugin.errors import ServiceError, UsageError
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_server import MilvusServer
from mmrag_plugin.settings import load_settings


@dataclass
class Certificates:
    """Files of an authority that nobody else knows, and what it vouches for."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    return made_in(tmp_path_factory.mktemp("certificates"))


def made_in(folder: Path) -> Certificates:
    """Make an authority and certificates for the server localhost and for a client."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["req", "-newkey", "rsa:2048", "-nodes", "-sha256"]
    openssl(*new, "-x509", "-subj", "/CN=ours", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("server", "client"):
        openssl(*new, "-subj", "/CN=localhost", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "names").write_text("subjectAltName=DNS:localhost,DNS:milvus.example.org")
        sign = ["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl(*sign, "-in", f"{name}.csr", "-extfile", "names", "-out", f"{name}.pem")
    paths = (folder / name for name in "ca.pem server.pem server.key client.pem client.key".split())
    return Certificates(*paths)


@pytest.fixture(scope="module")
def address(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that wants a password, and certificates of its clients."""
    tls = {
        "server_pem_path": certificates.server,
        "server_key_path": certificates.server_key,
        "ca_pem_path": certificates.authority,
    }
    with real_server(tmp_path_factory.mktemp("tls"), authorization=True, tls=tls) as server:
        yield server.uri.replace("127.0.0.1", "localhost")


def variables(address: str, certificates: Certificates, **more: str) -> dict[str, str]:
    return {
        "MMRAG_MILVUS_URI": address,
        "MMRAG_MILVUS_TOKEN": ROOT_TOKEN,
        "MMRAG_MILVUS_CA_FILE": str(certificates.authority),
        "MMRAG_MILVUS_CLIENT_CERTIFICATE": str(certificates.client),
        "MMRAG_MILVUS_CLIENT_KEY": str(certificates.client_key),
        **more,
    }


@pytest.mark.slow
def test_a_library_lives_in_a_database_of_a_server_behind_tls(
    address: str, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_server = variables(address, certificates)
    for name, value in of_server.items():
        monkeypatch.setenv(name, value)
    connection = MilvusConnection.of(load_settings(), tmp_path)
    connection.call("create_database", "photos")
    connection.close()
    picture(tmp_path / "photos" / "red.png", "red")
    within = {**of_server, "MMRAG_MILVUS_DATABASE": "photos"}
    home = tmp_path / "home"
    report = told(mmrag(home, "index", tmp_path / "photos", "--no-ocr", "--json", **within), 0)
    assert report["added"] == 1
    assert told(mmrag(home, "search", "red", "--json", **within), 0)["hits"]
    status = mmrag(home, "status", "--json", **within)
    assert told(status, 0)["milvus"]["address"] == address
    shown = " ".join(mmrag(home, "doctor", **within).stdout.split())
    assert "v2.3.5" in shown
    assert "turned off: search by words (BM25)" in shown
    for part in (status.stdout, shown):
        assert ROOT_TOKEN not in part
    monkeypatch.setenv("MMRAG_MILVUS_DATABASE", "photos")
    for database, count in (("photos", 2), ("", 0)):
        monkeypatch.setenv("MMRAG_MILVUS_DATABASE", database)
        connection = MilvusConnection.of(load_settings(), tmp_path)
        assert len(connection.call("list_collections")) == count
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"MMRAG_MILVUS_TOKEN": "root:wrong"}, "refuses the token"),
        ({"MMRAG_MILVUS_DATABASE": "nothing"}, "nothing"),
        ({"MMRAG_MILVUS_SERVER_NAME": "other.example.org"}, "be reached"),
        ({"MMRAG_MILVUS_CA_FILE": "other"}, "be reached"),
    ],
)
def test_what_a_server_does_not_like_is_said(
    address: str,
    certificates: Certificates,
    tmp_path: Path,
    changed: dict[str, str],
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "MMRAG_MILVUS_CA_FILE" in changed:
        (tmp_path / "other").mkdir()
        changed = {"MMRAG_MILVUS_CA_FILE": str(made_in(tmp_path / "other").authority)}
    for name, value in variables(address, certificates, **changed).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("mmrag_plugin.milvus_connection.RECONNECT_S", 0.5)
    connection = MilvusConnection.of(load_settings(), tmp_path)
    with pytest.raises(ServiceError, match=wrong) as caught:
        connection.call("list_collections")
    assert "root" not in str(caught.value)


@pytest.mark.slow
def test_a_server_may_have_another_name_in_its_certificate(
    address: str, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"MMRAG_MILVUS_SERVER_NAME": "milvus.example.org"}
    for variable, value in variables(address, certificates, **name).items():
        monkeypatch.setenv(variable, value)
    connection = MilvusConnection.of(load_settings(), tmp_path)
    assert connection.call("list_collections") == []
    connection.close()


def test_certificates_that_can_not_be_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("-")
    with pytest.raises(UsageError, match="https://"):
        MilvusServer("http://anna:secret@host:1", ca_file=file)
    with pytest.raises(UsageError, match="no file"):
        MilvusServer("https://host", ca_file=tmp_path / "none.pem")
    with pytest.raises(UsageError, match="needs its key") as caught:
        MilvusServer("https://host", ca_file=file, client_certificate=file)
    assert "MMRAG_MILVUS_CLIENT_KEY" in caught.value.remedy


def test_a_wrong_certificate_is_a_wrong_setting_to_the_commands(tmp_path: Path) -> None:
    wrong = {"MMRAG_MILVUS_URI": "https://host", "MMRAG_MILVUS_CA_FILE": str(tmp_path / "none")}
    _, message, _ = refused(mmrag(tmp_path, "index", tmp_path, "--json", **wrong), 2)
    assert "MMRAG_MILVUS_CA_FILE" in message


def test_a_token_is_not_shown_by_what_holds_it() -> None:
    server = MilvusServer("http://anna:secret@host:1", "root:secret", "photos")
    assert "secret" not in server.shown
    assert "root:secret" not in repr(server)
