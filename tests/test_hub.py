"""Claims about machines without a network: nothing waits for the hub, and what its cache holds is used."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from huggingface_hub import constants

from glipv2 import hub
from glipv2.errors import UserError
from glipv2.models.fetch import local_file
from glipv2.models.image import ImageEncoderConfig
from glipv2.models.text import TextEncoderConfig
from glipv2.tokenizer import TokenizerConfig


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> list[Any]:
    """No name resolves; the places that were asked for."""
    asked: list[Any] = []

    def refuse(place: Any, *_: Any, **__: Any) -> None:
        asked.append(place)
        raise OSError("Name or service not known")

    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.test")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return asked


def test_a_hub_that_does_not_answer_is_asked_once_and_its_client_told(cut_off: list[Any]) -> None:
    with hub.hub():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is False
    assert cut_off == [("hub.test", 443)]


def test_a_proxy_decides_for_itself_and_offline_as_asked_asks_nobody(
    cut_off: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "proxy.test:3128"})
    assert hub.hub_answers()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.hub_answers()
    assert cut_off == []


@pytest.mark.parametrize(
    ("fetch", "said"),
    [
        (lambda: TokenizerConfig("some/encoder").build(), "no tokenizer at 'some/encoder'"),
        (lambda: TextEncoderConfig(pretrained=True, hub_name="some/encoder").build(99), "text encoder 'some/encoder'"),
        (
            lambda: ImageEncoderConfig(backbone="resnet18", pretrained=True).build(),
            "weights of 'resnet18' could not be fetched",
        ),
        (lambda: local_file("hf://some/encoder/file.pth"), "does not answer"),
    ],
    ids=["tokenizer", "text encoder", "image backbone", "file"],
)
def test_without_a_network_each_part_says_at_once_what_to_do(cut_off: list[Any], fetch: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        fetch()
    assert "\n" not in str(refused.value)
    assert "where there is a network" in str(refused.value)
    assert "HF_HUB_OFFLINE" not in str(refused.value)
    assert set(cut_off) == {("hub.test", 443)}
