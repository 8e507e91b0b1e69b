"""Settings: options over environment over file, remembered without losing what a person wrote."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from app.config import Config, ConfigError, remember


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text('model = "file"\nslots = 2\nthreads = 3\n')
    monkeypatch.setenv("IDLEWATT_MODEL", "environment")
    monkeypatch.setenv("IDLEWATT_SLOTS", "5")

    config = Config.load(path, model="option")

    assert (config.model, config.slots, config.threads) == ("option", 5, 3)


def test_a_home_without_a_file_has_the_defaults(tmp_path):
    config = Config.load(tmp_path / "config.toml")

    assert (config.relay, config.model, config.slots) == (None, "demo", 4)


def test_remembering_keeps_a_persons_comments(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("# mine\nslots = 2 # enough\n")

    remember(path, relay="ws://127.0.0.1:9000", chain=None)

    assert path.read_text() == '# mine\nslots = 2 # enough\nrelay = "ws://127.0.0.1:9000"\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("slots = 0", "slots"),
        ('slots = "many"', "slots"),
        ('threads = "9999"', "threads"),
        (f"gpu_layers = {10**20}", "gpu_layers"),
        (f"context_length = {10**30}", "context_length"),
        (f"price_in_nano = {2**64}", "price_in_nano"),
        ('log_level = "loud"', "log_level"),
        ("keyring = 3", "keyring"),
        ('relay = "http://here"', "relay"),
        ("relay = 7", "relay"),
        ('chain = "x"', "chain"),
        ('chain = "http://[::1"', "chain"),
        ("slots = ", "config.toml"),
        ("[energy]\nprice_per_kwh = -1", r"energy\.price_per_kwh"),
        ('[energy]\nprice_per_kwh = "cheap"', r"energy\.price_per_kwh"),
        ("[energy]\nprice = 1", "unknown setting `price`"),
        ("[energy]\ncpu_w = 0", r"energy\.cpu_w"),
        ('[[energy.tariff]]\nfrom = "22:00"\nto = "06:00"\nprice_per_kwh = 0.1', r"needs energy\.price_per_kwh"),
        ('[availability]\nhours = ["always"]', r"availability\.hours"),
        ("[availability]\nhours = 7", r"availability\.hours"),
        ("[availability]\nmax_temperature_c = 500", r"availability\.max_temperature_c"),
        ('[availability]\npause_for = [""]', r"availability\.pause_for"),
        ("availability = 3", "availability"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, named):
    path = tmp_path / "config.toml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=named) as failure:
        Config.load(path)
    assert failure.value.fix


def test_a_file_that_is_none_or_no_text_is_refused_by_name(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"model = '\xff'")

    for name in ("folder.toml", "bytes.toml"):
        with pytest.raises(ConfigError, match=name):
            Config.load(tmp_path / name)


def test_a_bad_variable_is_refused_without_repeating_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("IDLEWATT_SLOTS", "s3cret")

    with pytest.raises(ConfigError, match="slots") as failure:
        Config.load(tmp_path / "config.toml")
    assert "s3cret" not in failure.value.line()


def test_variables_are_read_as_what_the_setting_is(tmp_path, monkeypatch):
    monkeypatch.setenv("IDLEWATT_KEYRING", "true")
    monkeypatch.setenv("IDLEWATT_THREADS", "2")
    monkeypatch.setenv("IDLEWATT_RELAY", "wss://relay.example/")

    config = Config.load(tmp_path / "config.toml")

    assert (config.keyring, config.threads, config.relay) == (True, 2, "wss://relay.example")


def test_a_price_of_power_is_taken_as_it_is_written(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        '[energy]\nprice_per_kwh = 0.1\n[[energy.tariff]]\nfrom = "22:00"\nto = "06:00"\nprice_per_kwh = "0.07"\n'
        "[availability]\nmax_temperature_c = 83\nresume_after_s = 1.5\n"
    )
    config = Config.load(path)

    assert (config.energy.price_per_kwh, config.energy.tariff[0].price_per_kwh) == (Decimal("0.1"), Decimal("0.07"))
    assert (config.availability.max_temperature_c, config.availability.resume_after_s) == (83.0, 1.5)


def test_overlapping_tariffs_are_refused_with_the_file_to_mend(tmp_path):
    path = tmp_path / "config.toml"
    part = '[[energy.tariff]]\nfrom = "22:00"\nto = "06:00"\nprice_per_kwh = 0.1\n'
    path.write_text(f"[energy]\nprice_per_kwh = 0.3\n{part}{part}")

    with pytest.raises(ConfigError, match="overlap") as failure:
        Config.load(path)
    assert str(path) in failure.value.fix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("price_out = 999", "unknown setting `price_out`. Did you mean `price_out_nano`?"),
        ("share_prefix = true", "unknown setting `share_prefix`. Did you mean `share_prefixes`?"),
        ("Price-In-Nano = 1", "unknown setting `Price-In-Nano`. Did you mean `price_in_nano`?"),
        ("[energy]\ncpu = 1", "unknown setting `cpu` in [energy]. Did you mean `cpu_w`?"),
        ("cpu_w = 1", "unknown setting `cpu_w`. `cpu_w` belongs into [energy]."),
        ("[energy]\nslots = 1", "unknown setting `slots` in [energy]. `slots` belongs above the first section."),
        ("[energi]\ncpu_w = 1", "unknown setting `energi`. Did you mean `energy`?"),
        ('colour = "red"', "unknown setting `colour`. Remove it, or update Idlewatt if a newer one wrote it"),
        ("[manners]\nenabled = false", "unknown setting `manners`. It is called `availability` now."),
        ("energy = 3", "The setting energy is not usable: it is a section. Write [energy] in"),
        (
            '[energy]\nprice_per_kwh = 1\n[[energy.tariff]]\nform = "1:00"\nto = "2:00"\nprice_per_kwh = 1',
            "unknown setting `form`, did you mean `from`",
        ),
        ('"a\\nb" = 1', "unknown setting `a?b`."),
        ('"energy.cpu_w" = 1', "unknown setting `energy.cpu_w`. `cpu_w` belongs into [energy]."),
        ('".energy" = 1', "unknown setting `.energy`. Did you mean `energy`?"),
        ('log_level = "loud"', "log_level is not usable: It is debug, info, warning or error."),
        ('relay = "http://here"', "relay is not usable: Should look like ws://host:port."),
    ],
)
def test_a_key_that_is_no_setting_is_refused_with_the_closest_one(tmp_path, text, said):
    path = tmp_path / "config.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as failure:
        Config.load(path)
    assert said in failure.value.line()
    assert "\n" not in failure.value.line()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("IDLEWATT_SLOT", "IDLEWATT_SLOTS"),
        ("IDLEWATT_SHARE_PREFIX", "IDLEWATT_SHARE_PREFIXES"),
        ("IDLEWATT_HOEM", "IDLEWATT_HOME"),
        ("IDLEWATT_PASPHRASE", "IDLEWATT_PASSPHRASE"),
        ("IDLEWATT_ENERGY_CPU", "IDLEWATT_ENERGY_CPU_W"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(tmp_path, monkeypatch, name, meant):
    monkeypatch.setenv(name, "s3cret")

    with pytest.raises(ConfigError, match=f"{name} is no setting") as failure:
        Config.load(tmp_path / "config.toml")
    assert f"{meant}?" in failure.value.fix
    assert "s3cret" not in failure.value.line()


@pytest.mark.parametrize(
    "name", ["IDLEWATT_VERSION", "IDLEWATT_UPSTREAM_KEY", "IDLEWATT_FILE_PASSPHRASE", "IDLEWATT_MODELE", "SLOT"]
)
def test_variables_of_others_and_those_that_hold_a_key_are_left_alone(tmp_path, monkeypatch, name):
    path = tmp_path / "config.toml"
    path.write_text('upstream_key_env = "IDLEWATT_MODELE"\n')
    monkeypatch.setenv(name, "1")

    assert Config.load(path).slots == 4


def test_a_variable_sets_what_stands_in_a_section(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text("[energy]\ncpu_w = 50\ngpu_w = 60\n")
    monkeypatch.setenv("IDLEWATT_ENERGY_CPU_W", "70")
    monkeypatch.setenv("IDLEWATT_ENERGY_PRICE_PER_KWH", "0.31")
    monkeypatch.setenv("IDLEWATT_MODEL_FOLDERS", '["/data", "~/more"]')

    config = Config.load(path)

    assert (config.energy.cpu_w, config.energy.gpu_w) == (70.0, 60.0)
    assert config.energy.price_per_kwh == Decimal("0.31")
    assert config.model_paths == (Path("/data"), Path("~/more").expanduser())


def test_a_list_in_a_variable_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("IDLEWATT_MODEL_FOLDERS", "/data:/more")

    with pytest.raises(ConfigError, match="IDLEWATT_MODEL_FOLDERS holds no list") as failure:
        Config.load(tmp_path / "config.toml")
    assert '["one", "two"]' in failure.value.fix


def test_a_refusal_names_the_place_to_mend(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text("slots = 99\n")
    with pytest.raises(ConfigError, match="slots") as in_file:
        Config.load(path)
    monkeypatch.setenv("IDLEWATT_SLOTS", "98")
    with pytest.raises(ConfigError, match="slots") as in_variable:
        Config.load(path)
    with pytest.raises(ConfigError, match="price_in_nano") as in_option:
        Config.load(tmp_path / "none.toml", price_in_nano=-1, slots=3)

    assert str(path) in in_file.value.fix
    assert "variable IDLEWATT_SLOTS" in in_variable.value.fix
    assert "option --price-in" in in_option.value.fix


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_from_any_editor_is_read_and_keeps_its_form(tmp_path, mark, end):
    path = tmp_path / "config.toml"
    before = f"{mark}# mine{end}slots = 2 # enough{end}{end}[energy]{end}cpu_w = 60{end}"
    path.write_bytes(before.encode())

    assert Config.load(path).slots == 2
    remember(path, relay="ws://127.0.0.1:9000", slots=3)

    assert path.read_bytes().decode() == (
        f'{mark}# mine{end}slots = 3 # enough{end}relay = "ws://127.0.0.1:9000"{end}{end}[energy]{end}cpu_w = 60{end}'
    )
    assert (Config.load(path).slots, Config.load(path).relay) == (3, "ws://127.0.0.1:9000")


def test_remembering_what_stands_there_already_writes_nothing(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("slots = 2\n")
    before = path.stat().st_mtime_ns

    remember(path, slots=2)

    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"model = '\xff'", "not UTF-8"),
        (b"\xff\xfes\x00l\x00o\x00t\x00s\x00", "not UTF-8"),
        (b"# " + b"x" * (1 << 20), "more than 1,048,576 bytes"),
        (b"a = " + b"[" * 100_000, "can't be read"),
        (b"slots = " + b"9" * 5000, "can't be read"),
        (b"slots = 2\nslots = 3", "can't be read"),
    ],
    ids=["not UTF-8", "UTF-16", "huge", "nested", "number", "twice"],
)
def test_a_file_that_can_not_be_read_is_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "config.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=said) as failure:
        Config.load(path)
    assert "\n" not in failure.value.line()
    assert len(failure.value.line()) < 300 + len(str(path))
    with pytest.raises(ConfigError, match="can't be written") as failure:
        remember(path, relay="ws://127.0.0.1:9000")
    assert path.read_bytes() == content


def test_a_number_that_no_machine_holds_is_refused_in_one_line(tmp_path):
    path = tmp_path / "config.toml"
    for number in ("1e9999999999999999999", "1e999", "nan", "inf"):
        path.write_text(f"[energy]\ncpu_w = {number}\n")
        with pytest.raises(ConfigError, match=r"can't be read|energy\.cpu_w is not usable"):
            Config.load(path)


def test_a_file_that_the_system_does_not_open_is_refused_with_its_reason(tmp_path):
    path = tmp_path / "config.toml"
    path.symlink_to(path)

    with pytest.raises(ConfigError, match=r"config\.toml can't be read: Too many levels of symbolic links\."):
        Config.load(path)


@pytest.mark.parametrize("split", ["1,,2", "0,0", "-1,2"])
def test_gpu_shares_that_are_none_are_refused_with_the_place_to_mend(tmp_path, monkeypatch, split):
    monkeypatch.setenv("IDLEWATT_TENSOR_SPLIT", split)

    with pytest.raises(ConfigError) as failure:
        Config.load(tmp_path / "config.toml")
    assert "IDLEWATT_TENSOR_SPLIT" in failure.value.fix


def test_settings_that_do_not_fit_together_are_refused_with_the_places_to_mend(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('kv_type = "q8_0"\n')

    with pytest.raises(ConfigError, match="needs flash attention") as failure:
        Config.load(path, flash_attention=False)
    assert str(path) in failure.value.fix


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "config.toml"
    os.mkfifo(path)

    with pytest.raises(ConfigError, match="no file"):
        Config.load(path)


def test_unwritable_settings_are_said_in_one_line(tmp_path):
    path = tmp_path / "config.toml"
    path.mkdir()

    with pytest.raises(ConfigError, match="can't be written"):
        remember(path, slots=3)


@pytest.mark.parametrize(
    "text",
    [
        '"\\u001b[31mkey" = 1',
        '"\\u001b[31mpart.key" = 1',
        '[energy]\n"\\u009b31m\\u202ekey" = 1',
        '[[energy.tariff]]\n"\\u001b]0;title\\u0007" = 1',
        f'"{"k" * 100_000}.x" = 1',
        f'[[energy.tariff]]\n"{"k" * 100_000}" = 1',
    ],
)
def test_what_a_file_holds_is_repeated_briefly_and_obeyed_by_no_terminal(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as refused:
        Config.load(path)
    assert refused.value.line().isprintable()
    assert len(refused.value.line()) < 12_000


def test_a_key_that_stands_twice_is_no_sequence_for_a_terminal(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('"\\u001b[31m" = 1\n"\\u001b[31m" = 2')

    with pytest.raises(ConfigError, match="already exists") as refused:
        remember(path, relay="ws://127.0.0.1:9000")
    assert refused.value.line().isprintable()


@pytest.mark.parametrize("value", ["[1e99999999999999999999]", "[" * 5000, "3", "\udcff"])
def test_a_variable_that_is_no_list_is_refused(tmp_path, monkeypatch, value):
    monkeypatch.setenv("IDLEWATT_ENERGY_TARIFF", value)

    with pytest.raises(ConfigError, match=r"energy\.tariff"):
        Config.load(tmp_path / "config.toml")


def test_text_that_is_not_utf8_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="--model is not UTF-8"):
        Config.load(tmp_path / "config.toml", model="\udcff")
    monkeypatch.setenv("IDLEWATT_MODEL", "\udcff\udcfe")
    with pytest.raises(ConfigError, match="IDLEWATT_MODEL is not UTF-8"):
        Config.load(tmp_path / "config.toml")


def test_remembering_follows_a_link_and_keeps_it(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / "mine.toml"
    real.write_text("# mine\n")
    link = tmp_path / "config.toml"
    link.symlink_to(real)

    remember(link, relay="ws://127.0.0.1:9000")

    assert link.is_symlink()
    assert real.read_text() == '# mine\nrelay = "ws://127.0.0.1:9000"\n'


def test_remembering_refuses_a_link_that_leads_nowhere_else(tmp_path):
    link = tmp_path / "config.toml"
    link.symlink_to(link)

    with pytest.raises(ConfigError, match="can't be written"):
        remember(link, relay="ws://127.0.0.1:9000")
    assert link.is_symlink()


def test_a_failed_writing_leaves_the_file_alone_and_nothing_beside_it(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("# mine\n")
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from app.config import ConfigError, remember\n"
        "import tomlkit\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3, 3))\n"
        "try:\n"
        "    remember(Path(sys.argv[1]), relay='ws://127.0.0.1:9000')\n"
        "except ConfigError:\n"
        "    sys.exit(7)\n"
    )

    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 7
    assert path.read_text() == "# mine\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# mine\n\n# power\n[energy]\ncpu_w = 5\n", "# mine\n{}\n\n# power\n[energy]\ncpu_w = 5\n"),
        ("# power\n[energy]\n", "{}\n\n# power\n[energy]\n"),
        ("slots = 2\n# power\n# and more\n[energy]\n", "slots = 2\n{}\n# power\n# and more\n[energy]\n"),
        ("slots = 2\r\n\r\n# power\r\n[energy]\r\n", "slots = 2\r\n{}\r\n\r\n# power\r\n[energy]\r\n"),
        ("slots = 2\n\n[energy]\n# power\ncpu_w = 5\n", "slots = 2\n{}\n\n[energy]\n# power\ncpu_w = 5\n"),
        ('model = """\n# no comment\n[no section]"""\n', 'model = """\n# no comment\n[no section]"""\n{}\n'),
        ("model_folders = [\n# one\n[][0],\n", None),
    ],
)
def test_a_new_key_does_not_come_between_a_section_and_its_comment(tmp_path, before, after):
    path = tmp_path / "config.toml"
    path.write_bytes(before.encode())

    if after is None:
        with pytest.raises(ConfigError):
            remember(path, relay="ws://here")
        assert path.read_bytes() == before.encode()
    else:
        remember(path, relay="ws://here")
        assert path.read_bytes() == after.format('relay = "ws://here"').encode()
