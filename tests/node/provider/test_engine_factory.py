import pytest

from chain.errors import UsageError
from node.engine.llama import LlamaEngine
from node.engine.upstream.engine import UpstreamEngine
from node.provider.engine_factory import make_engine
from node.runtime.settings import NodeSettings


def settings(tmp_path, **changes) -> NodeSettings:
    folders = {name: tmp_path / name for name in ("keystore_dir", "database_path", "models_dir", "logs_dir")}
    return NodeSettings(**folders, **changes)


def test_a_file_is_run_here_and_an_address_is_asked(tmp_path):
    assert isinstance(make_engine(settings(tmp_path), "demo", lambda _: None), LlamaEngine)
    upstream = settings(tmp_path, upstream_url="http://127.0.0.1:1/v1")
    assert isinstance(make_engine(upstream, "any", lambda _: None), UpstreamEngine)


def test_an_unknown_file_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UsageError) as raised:
        make_engine(settings(tmp_path), "nothing", lambda _: None)
    assert raised.value.code == "unknown_model"


def test_the_key_is_read_from_the_variable_that_is_named(tmp_path, monkeypatch):
    named = settings(tmp_path, upstream_url="http://127.0.0.1:1/v1", upstream_key_env="A_KEY")
    monkeypatch.setenv("A_KEY", "sk-secret")
    make_engine(named, "any", lambda _: None)
    assert "sk-secret" not in repr(named)
    monkeypatch.delenv("A_KEY")
    with pytest.raises(UsageError, match="A_KEY holds no key"):
        make_engine(named, "any", lambda _: None)
