"""Certificates and keys that can't be served with are told in one line before a server starts."""

from __future__ import annotations

import shutil

import pytest

from unimedvl.serving.tls import TlsError, check_tls


def refused(certificate, key, said: str) -> None:
    with pytest.raises(TlsError) as caught:
        check_tls(certificate, key)
    assert said in str(caught.value) and str(caught.value).isprintable()


def test_a_good_pair_is_taken(make_certificate):
    certificate, key = make_certificate("localhost", "127.0.0.1", days=90)
    key.chmod(0o600)
    assert check_tls(certificate, key) == []


def test_what_will_be_trouble_is_told(make_certificate):
    certificate, key = make_certificate("localhost", days=3)
    key.chmod(0o644)
    soon, readable = check_tls(certificate, key)
    assert " ends on 20" in soon and "may be read by everybody" in readable


def test_what_is_none_is_named(make_certificate, tmp_path):
    certificate, key = make_certificate("localhost", days=90)
    other = make_certificate("localhost", days=90)[1]
    (tmp_path / "text.pem").write_text("nothing of the kind")
    refused(tmp_path / "none.pem", key, "tls.certificate: ")
    refused(certificate, tmp_path, "Is a directory")
    refused(tmp_path / "text.pem", key, "holds no certificate in PEM")
    refused(certificate, tmp_path / "text.pem", "holds no key in PEM")
    refused(certificate, other, "is the key of another certificate")
    refused(*make_certificate("localhost", days=90, password="x"), "has a password; take it off")
    refused(*make_certificate("localhost", days=-1), "ended on 20")
    refused(*make_certificate("localhost", days=500), "begins on 20")
    both = tmp_path / "both.pem"
    with both.open("wb") as stream:
        for part in (certificate, key):
            with part.open("rb") as source:
                shutil.copyfileobj(source, stream)
    both.chmod(0o600)
    assert check_tls(both, both) == []
