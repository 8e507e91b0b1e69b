"""A build of llama.cpp is the one that was asked for, or the screen says why there is none."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from app.doctor import check_home
from app.home import Home
from app.llama_build import Build, BuildDevice, Installation, installation, judge, try_build, unused_gpu
from node.hardware.backend import unused_gpu as unused
from node.hardware.reading import DeviceReading
from node.hardware.sampler import device_view
from node.values import Health, Phase
from tests.node.provider.test_health import verdict
from tests.packaging import llama
from tests.packaging.test_locks import INSTALLER, ROOT
from tests.patience import PATIENCE_S

NVIDIA = DeviceReading(device_id="nvml:1", name="GeForce", kind="gpu", source="nvml", memory_total_bytes=24 << 30)
CPU_BUILD = Build(token="42", backends=("CPU",), devices=(BuildDevice("CPU", "a processor", False),))
CUDA_FAILS = "llama.cpp was not built: CMake found no CUDA toolkit (nvcc). sudo apt install nvidia-cuda-toolkit"
BACKEND = """
import zipfile
from pathlib import Path

FILES = {
    "METADATA": "Metadata-Version: 2.1\\nName: idlewatt\\nVersion: 0.1.0\\nRequires-Dist: llama-cpp-python\\n",
    "entry_points.txt": "[console_scripts]\\nidlewatt = backend:build_wheel\\n",
    "WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "RECORD": "",
}

def build_editable(folder, settings=None, metadata=None):
    with zipfile.ZipFile(Path(folder, "idlewatt-0.1.0-py3-none-any.whl"), "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr("idlewatt-0.1.0.dist-info/" + name, text)
    return "idlewatt-0.1.0-py3-none-any.whl"

build_wheel = build_editable
"""

KILLING = """
import os, signal
from pathlib import Path

def parent(number):
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])

if "KILL_INSTALLER" in os.environ:
    number = os.getpid()
    while b"install.py" not in Path(f"/proc/{number}/cmdline").read_bytes():
        number = parent(number)
    os.kill(number, signal.SIGKILL)
"""


@dataclass(frozen=True, slots=True)
class Clone:
    """A clone of this repository whose lock holds llama.cpp's binding alone, and the index that it comes from."""

    folder: Path
    environment: dict[str, str]

    def run(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Type a command in the clone."""
        return subprocess.run(
            command, shell=True, cwd=self.folder, env=self.environment | variables, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    @property
    def packages(self) -> Path:
        """Where its environment's packages are."""
        (folder,) = (self.folder / ".venv").glob("lib/*/site-packages")
        return folder

    def forget(self) -> None:
        """As in a new clone: llama.cpp is not installed, and nothing says how it was built."""
        (self.folder / ".venv" / ".installed").unlink()
        for path in self.packages.glob("llama_cpp*"):
            shutil.rmtree(path)

    @property
    def built_with(self) -> str:
        """The options of the installed build."""
        return (self.packages / llama.OPTIONS).read_text()

    @property
    def builds(self) -> list[str]:
        """The options of every build that was begun, whichever clone asked for it."""
        log = Path(self.environment["BUILDS"])
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Clone:
    """A clone in which `make install` was called once."""
    folder = tmp_path_factory.mktemp("llama")
    (folder / "tmp").mkdir()
    sha256 = llama.offer(folder / "simple", folder / "truncated")
    clone = folder / "clone"
    write_clone(clone, sha256)
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_", "MAKE", "MFLAGS", "CMAKE", "COVERAGE"))
    }
    caches = {"XDG_CACHE_HOME": str(folder / "cache"), "BUILDS": str(folder / "builds"), "TMPDIR": str(folder / "tmp")}
    url = (folder / "simple").as_uri()
    indexes = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "UV_INDEX_URL": url, "UV_NO_CONFIG": "1"}
    made = Clone(clone, clean | caches | indexes)
    done = made.run(f"make install PYTHON={sys.executable}")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def write_clone(folder: Path, sha256: str) -> None:
    for name in INSTALLER:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements-build.lock").write_text("")
    (folder / "requirements.lock").write_text(f"{llama.PACKAGE}=={llama.VERSION} \\\n    --hash=sha256:{sha256}\n")
    (folder / "backend.py").write_text(BACKEND)
    backend = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (folder / "pyproject.toml").write_text(backend)


@pytest.fixture
def clone(first, tmp_path) -> Clone:
    """A copy of that clone, for a test to break; it shares the cache."""
    folder = tmp_path / "clone"
    shutil.copytree(first.folder, folder, symlinks=True)
    return Clone(folder, first.environment | {"BUILDS": str(tmp_path / "builds")})


def screen(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a person sees."""
    return (done.stdout + done.stderr).rstrip().splitlines()[-1]


def test_other_options_never_get_the_wheel_of_earlier_ones(clone):
    """`make demo` had cached a CPU wheel; the documented CUDA build took it from pip's cache and exited with 0."""
    assert "GGML_LTO" not in clone.built_with

    done = clone.run('CMAKE_ARGS="-DGGML_LTO=on" make install')

    assert done.returncode == 0, done.stderr
    assert clone.built_with.endswith(" -DGGML_LTO=on")


def test_the_options_of_the_last_build_hold_until_others_are_given(clone):
    """After a GPU build the next plain `make demo` must not bring the processor's build back, unsaid."""
    clone.run('CMAKE_ARGS="-DGGML_LTO=on" make install')
    lock = clone.folder / "requirements.lock"
    lock.write_text(lock.read_text() + "# moved\n")

    assert clone.run("make install").returncode == 0
    assert clone.built_with.endswith(" -DGGML_LTO=on")

    assert clone.run('CMAKE_ARGS="" make install').returncode == 0
    assert "GGML_LTO" not in clone.built_with


def test_the_same_options_are_compiled_once_for_all_clones(clone):
    """Minutes of compiling for each clone would make people turn the check off."""
    clone.forget()

    done = clone.run("make install")

    assert done.returncode == 0, done.stderr
    assert clone.built_with
    assert clone.builds == []


def test_a_failed_build_says_why_in_its_last_line_and_leaves_what_works(clone):
    """CMake failed without a word on the screen, after `make clean` had removed the working installation."""
    before = clone.built_with

    done = clone.run('CMAKE_ARGS="-DGGML_VULKAN=on" make install')

    assert done.returncode != 0
    assert "CMake did not find Vulkan (missing:" in screen(done)
    assert "sudo apt install libvulkan-dev glslc spirv-headers. What was installed before stays." in screen(done)
    assert "The whole log: .venv/install.log" in screen(done)
    assert "FindPackageHandleStandardArgs" in (clone.folder / ".venv" / "install.log").read_text()
    assert clone.built_with == before
    assert clone.run("make install").returncode == 0


def test_a_build_that_makes_no_token_is_not_installed_and_not_kept(clone):
    """A library that does not load replaced the one that did."""
    before = clone.built_with
    for _ in range(2):
        done = clone.run('CMAKE_ARGS="-DGGML_TRUNCATED=on" make install')

        assert done.returncode != 0
        assert "The new llama.cpp does not work: " in screen(done)
        assert "What was installed before stays." in screen(done)
    assert clone.built_with == before
    assert len(clone.builds) == 2


def test_a_build_without_the_backend_that_was_asked_for_is_not_installed(clone):
    """The build went through, and models ran on the processor all the same."""
    before = clone.built_with

    done = clone.run('CMAKE_ARGS="-DGGML_OPENCL=on" make install')

    assert done.returncode != 0
    assert "The new llama.cpp was to have OpenCL, but has CPU only. What was installed before stays." in screen(done)
    assert clone.built_with == before


def test_an_installer_that_can_not_write_says_so(clone):
    """On a full or read-only disk the reason could not be written either, and a traceback was shown."""
    (clone.folder / ".venv" / ".failed").mkdir()

    done = clone.run("make install")

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "Is a directory: '.venv/.failed'" in done.stderr


def test_an_installation_that_was_killed_is_no_installation(clone):
    """What was there before was noted as still installed, so the next `make install` did nothing and exited with 0."""
    killing = KILLING + (clone.folder / "backend.py").read_text()
    (clone.folder / "backend.py").write_text(killing)
    broken = clone.run('KILL_INSTALLER=1 CMAKE_ARGS="-DGGML_LTO=on" make install')
    assert broken.returncode != 0
    assert "the installation broke off" in screen(broken)
    shutil.rmtree(clone.packages / "llama_cpp")  # as a kill a moment earlier leaves it

    done = clone.run("make install")

    assert done.returncode == 0, done.stderr
    assert clone.built_with.endswith(" -DGGML_LTO=on")


def test_two_installers_take_turns(clone):
    """`make test` beside `make demo` ended in a traceback, or mixed two installations in one environment."""
    with (clone.folder / ".venv" / ".installing").open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        with subprocess.Popen(
            ["make", "install"], cwd=clone.folder, env=clone.environment, stderr=subprocess.PIPE, text=True
        ) as second:
            assert second.stderr is not None
            assert second.stderr.readline().startswith("Another make installs into .venv")
            assert not (clone.folder / ".venv" / ".failed").exists()
            fcntl.flock(busy, fcntl.LOCK_UN)
            assert second.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("variables", ["", "CMAKE_ARGS='-DGGML_LTO=on \"'"], ids=["program", "quotes"])
def test_an_installer_that_can_not_work_fails(clone, variables):
    """A step that was to tell the reason hid the failure, and the installation counted as done."""
    if not variables:
        (clone.folder / ".ci" / "build_reason.py").unlink()

    done = clone.run(f"{variables} make install")

    assert done.returncode != 0
    assert ("CMAKE_ARGS can't be read: No closing quotation" if variables else "could not be started") in screen(done)


@pytest.mark.parametrize(("option", "meant"), [("GGML_CUBLAS", "GGML_CUDA"), ("GGML_VULCAN", "GGML_VULKAN")])
def test_an_option_that_llama_cpp_does_not_have_is_refused(clone, option, meant):
    """CMake takes any name, so a GPU option of last year builds for the processor (abetlen/llama-cpp-python#409)."""
    done = clone.run(f'CMAKE_ARGS="-D{option}=on" make install')

    assert done.returncode != 0
    assert f"llama.cpp was not built: it has no option {option} (did you mean -D{meant}=on?)" in screen(done)


def test_a_wheel_that_does_not_work_here_any_more_is_built_again(clone):
    """A cache that moved to another processor, or was damaged, broke each new clone."""
    clone.run('CMAKE_ARGS="-DGGML_LTO=on -DLLAMA_CURL=on" make install')
    notes = (Path(clone.environment["XDG_CACHE_HOME"]) / "idlewatt" / "wheels").glob("*/wheel.json")
    (shelf,) = (note.parent for note in notes if "LLAMA_CURL=on" in note.read_text())
    (shelf / json.loads((shelf / "wheel.json").read_text())["name"]).write_bytes(b"PK damaged")
    clone.forget()

    done = clone.run('CMAKE_ARGS="-DGGML_LTO=on -DLLAMA_CURL=on" make install')

    assert done.returncode == 0, done.stderr
    assert len(clone.builds) == 2


async def test_the_fix_for_a_broken_build_repairs_it_as_it_is_printed(clone):
    """`doctor` printed a command that changed nothing, and then printed it again."""
    (clone.packages / "llama_cpp" / "llama_cpp.py").write_text("raise OSError('libllama.so: file too short')\n")
    broken = await try_build(clone.packages)
    item = judge(broken, (), made_by_make(clone))
    assert (item.health, item.detail) == (Health.FAIL, "OSError: libllama.so: file too short (exit status 1)")

    done = clone.run(printed(item.fix, "Build it again: "))

    assert done.returncode == 0, done.stderr
    repaired = await try_build(clone.packages)
    assert judge(repaired, (), made_by_make(clone)).health is Health.OK


async def test_the_fix_for_a_gpu_that_is_not_used_builds_for_it_as_it_is_printed(clone):
    """The command that `doctor` prints took the processor's wheel and exited with 0."""
    fix = judge(CPU_BUILD, (NVIDIA,), made_by_make(clone)).fix
    assert fix == 'Rebuild with GPU support: CMAKE_ARGS="-DGGML_CUDA=on" make install'

    done = clone.run(printed(fix, "Rebuild with GPU support: "))

    assert done.returncode != 0
    assert CUDA_FAILS in screen(done)
    assert clone.builds[-1].endswith(" -DGGML_CUDA=on")
    assert isinstance(await try_build(clone.packages), Build)


@pytest.mark.parametrize("by", ["pip", "uv"])
def test_the_fix_takes_the_options_in_an_environment_of(by, clone, tmp_path):
    """pip and uv keep one wheel a version, so the documented GPU build took the one of the processor."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_CACHE_DIR": str(tmp_path / "pip"),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "CUDA_IS_HERE": "yes",
    }
    prefix = clone.folder / ".venv"
    if by == "uv":
        shutil.rmtree(prefix)
        assert clone.run(f"uv venv --python {sys.executable} .venv", **environment).returncode == 0
    plain = {
        "pip": f"{prefix}/bin/python -m pip install --force-reinstall {llama.PACKAGE}",
        "uv": f"uv pip install --python {prefix}/bin/python --reinstall {llama.PACKAGE}",
    }
    for _ in range(2):
        done = clone.run(plain[by], CMAKE_ARGS="-DGGML_LTO=on", **environment)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(clone.builds) == 1, "the tool keeps what it built"
    found = installation(prefix, tmp_path / "elsewhere" / "app")
    assert found.by == by

    done = clone.run(printed(judge(CPU_BUILD, (NVIDIA,), found).fix, "Rebuild with GPU support: "), **environment)

    assert done.returncode == 0, done.stdout + done.stderr
    assert clone.built_with == "-DGGML_CUDA=on"


def test_the_documented_command_for_uv_tool_takes_the_options(clone, tmp_path):
    """`uv tool install` took the wheel that it had built for the processor."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_TOOL_DIR": str(tmp_path / "tools"),
        "UV_TOOL_BIN_DIR": str(tmp_path / "bin"),
        "UV_PYTHON": sys.executable,
        "CUDA_IS_HERE": "yes",
    }
    for _ in range(2):
        done = clone.run("uv tool install --reinstall .", **environment)
        assert done.returncode == 0, done.stderr
    assert len(clone.builds) == 1, "uv keeps what it built"
    text = (ROOT / "docs" / "operating.md").read_text()
    (command,) = re.findall(r"^CMAKE_ARGS=.* uv tool install .*$", text, re.MULTILINE)

    done = clone.run(command, **environment)

    assert done.returncode == 0, done.stderr
    tool = tmp_path / "tools" / "idlewatt"
    (options,) = tool.glob(f"lib/*/site-packages/{llama.OPTIONS}")
    assert options.read_text() == "-DGGML_CUDA=on"
    assert installation(tool, options.parent).by == "uv"


def test_the_fix_for_pipx_is_that_for_pip_in_its_environment(tmp_path):
    """pipx passes its work on to pip, and so the processor's wheel too; its users got a command for a clone."""
    (tmp_path / "pipx_metadata.json").write_text("{}")
    (tmp_path / "lib/python3.11/site-packages/pip").mkdir(parents=True)
    by_pipx = installation(tmp_path, tmp_path / "app")
    by_pip = Installation(by="pip", prefix=tmp_path, checkout=tmp_path)
    assert by_pipx.by == "pipx"

    command = by_pip.rebuild_command("-DGGML_CUDA=on").replace(f"{tmp_path}/bin/python -m pip", "pipx runpip idlewatt")
    assert by_pipx.rebuild_command("-DGGML_CUDA=on") == command


CUDA_BUILD = Build(token="42", backends=("CUDA", "CPU"), devices=(BuildDevice("CUDA0", "NVIDIA GeForce", True),))


@pytest.mark.parametrize(
    ("build", "found", "health", "detail"),
    [
        (CUDA_BUILD, (NVIDIA,), Health.OK, "uses NVIDIA GeForce (CUDA, CPU)"),
        (msgspec.structs.replace(CUDA_BUILD, devices=()), (NVIDIA,), Health.WARN, "built for CUDA, yet it sees no GPU"),
        (msgspec.structs.replace(CUDA_BUILD, devices=()), (), Health.OK, "built for CUDA, but no GPU is found here"),
        (CPU_BUILD, (NVIDIA,), Health.WARN, "built for the CPU only, yet this machine has GeForce"),
        (CPU_BUILD, (), Health.OK, "CPU (no GPU found here)"),
    ],
    ids=["used", "not seen", "no GPU", "not built for", "no GPU, no build for one"],
)
def test_doctor_says_of_a_build_what_the_library_says_of_itself(build, found, health, detail):
    """Support that is built in was reported as support that works (abetlen/llama-cpp-python#2068)."""
    item = judge(build, found, Installation(by="make", prefix=ROOT / ".venv", checkout=ROOT))

    assert item.health is health
    assert detail in item.detail


async def test_serving_on_the_processor_beside_a_gpu_is_said():
    """Owners of a GPU rented out their processor for days, at a hundredth of the speed."""

    async def works() -> Build:
        return CPU_BUILD

    said = await unused_gpu(lambda: (NVIDIA,), works)

    assert said.startswith("The model runs on the processor. llama.cpp: ")
    assert "this machine has GeForce. Rebuild with GPU support: CMAKE_ARGS=" in said
    assert await unused_gpu(tuple, works) == ""


def test_the_checklist_names_the_gpu_that_the_build_leaves_idle():
    """The app showed green lights while a GPU stood idle."""
    gpu, cpu, own_graphics = (
        device_view(msgspec.structs.replace(NVIDIA, kind=kind, memory_total_bytes=size))
        for kind, size in (("gpu", 24 << 30), ("cpu", 64 << 30), ("gpu", 512 << 20))
    )
    assert unused((cpu, gpu), "cpu") == "GeForce"
    assert unused((cpu, gpu), "cuda") == unused((cpu, own_graphics), "cpu") == ""

    item = next(item for item in verdict(unused_gpu="GeForce").checklist if item.name == "engine")

    assert (item.health, verdict(unused_gpu="GeForce").phase) == (Health.WARN, Phase.IDLE)
    assert item.detail == "demo runs on the processor: llama.cpp is not built for this machine's GeForce."


def test_the_fix_for_an_open_home_closes_it_as_it_is_printed(tmp_path):
    """The command was printed without quotes, and changed nothing where a folder's name has a space."""
    home = Home(tmp_path / "my node's home")
    home.prepare()
    home.root.chmod(0o755)

    subprocess.run(check_home(home).fix, shell=True, check=True, cwd=tmp_path)

    assert check_home(home).health is Health.OK


def made_by_make(clone: Clone) -> Installation:
    found = installation(clone.folder / ".venv", clone.folder / "app")
    assert (found.by, found.rebuild_command()) == ("make", f"make -C {clone.folder} rebuild")
    return Here(by=found.by, prefix=found.prefix, checkout=found.checkout)


class Here(Installation, frozen=True):
    """As if the working directory were the clone."""

    def rebuild_command(self, cmake_args: str = "", folder: Path | None = None) -> str:
        return super().rebuild_command(cmake_args, self.checkout)


def printed(fix: str, before: str) -> str:
    assert fix.startswith(before)
    return fix.removeprefix(before)
