import pytest

from app.home import Home
from chain.errors import UsageError
from node.engine.llama import LlamaEngine
from node.engine.upstream.engine import UpstreamEngine
from node.provider.engine_factory import make_engine
from node.runtime.settings import NodeSettings


def engine(tmp_path, model, **changes):
    return make_engine(Home(tmp_path), NodeSettings(**changes), model, lambda _: None)


def test_a_file_is_run_here_and_an_address_is_asked(tmp_path):
    assert isinstance(engine(tmp_path, "demo"), LlamaEngine)
    assert isinstance(engine(tmp_path, "any", upstream="http://127.0.0.1:1/v1"), UpstreamEngine)


def test_an_unknown_file_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UsageError) as raised:
        engine(tmp_path, "nothing")
    assert raised.value.code == "unknown_model"


def test_the_key_is_read_from_the_variable_that_is_named(tmp_path, monkeypatch):
    named = NodeSettings(upstream="http://127.0.0.1:1/v1", upstream_key_env="A_KEY")
    monkeypatch.setenv("A_KEY", "sk-secret")
    make_engine(Home(tmp_path), named, "any", lambda _: None)
    assert "sk-secret" not in repr(named)
    monkeypatch.delenv("A_KEY")
    with pytest.raises(UsageError, match="A_KEY holds no key"):
        make_engine(Home(tmp_path), named, "any", lambda _: None)


async def test_a_name_is_the_models_that_is_set_and_no_other_models(tmp_path):
    async with engine(tmp_path, "demo", model_name="my-model") as mine:
        assert (await mine.info()).model_name == "my-model"
    settings = NodeSettings(model="another", model_name="my-model")
    async with make_engine(Home(tmp_path), settings, "demo", lambda _: None) as other:
        assert (await other.info()).model_name == "demo"
