"""What a process imports as it starts: no more than it needs, and with no look for garbage in it."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import weakref

import pytest

from pipeline.__main__ import FAUST, STAGES
from pipeline.imports import uncollected

STAND_IN = """
import gc, importlib.util, sys
import pipeline.__main__ as entry
class Found:
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "{module}" else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        print("imported", gc.isenabled(), flush=True)
        module.run = lambda *_, **__: print("begun", gc.isenabled(), flush=True)
sys.meta_path.insert(0, Found())
sys.argv = ["dodo-cio", "{stage}", *{more}]
entry.main()
"""
"""The command with a `run` that only says whether the collector is on, when it is imported and when it is called."""


def lines(program: str) -> list[str]:
    """What a fresh interpreter with this program prints."""
    environ = {"PIPELINE_DODO_WEBHOOK_SECRETS": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0"}
    ended = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_collects_once_it_is_imported(stage: str) -> None:
    """The collector is off while a stage's modules are imported, and on when its work begins."""
    program = STAND_IN.format(module=STAGES[stage], stage=stage, more=[])
    assert lines(program) == ["imported False", "begun True"]


def test_help_imports_no_stage() -> None:
    """Whoever asks what the options are does not wait for what the stage needs."""
    assert "imported False" not in lines(STAND_IN.format(module=STAGES["sink"], stage="sink", more=["--help"]))


@pytest.mark.parametrize("module", sorted(STAGES.values()))
def test_a_stage_draws_nothing(module: str) -> None:
    """It does without the packages of command lines and of colours, which libraries import where they are."""
    assert lines(f"import sys, {module}; print({{'click', 'pygments', 'rich'}} & {{*sys.modules}})") == ["set()"]


@pytest.mark.parametrize("stage", sorted(FAUST))
def test_a_faust_stage_starts_without_aiohttp(stage: str) -> None:
    """Whatever names its type gets it once it is asked for; until then nothing of it is loaded, nor a stand-in left."""
    program = (
        "import sys\n"
        "import pipeline.__main__ as entry\n"
        f"sys.argv = ['dodo-cio', '{stage}', '--port', 'many']\n"
        "try:\n"
        "    entry.main()\n"
        "except SystemExit as end:\n"
        "    print(end.code)\n"
        f"print('{STAGES[stage]}' in sys.modules, [name for name in sys.modules if name.startswith('aiohttp')])\n"
        "import aiohttp.client, aiohttp.web\n"
        "from mode.utils.imports import symbol_by_name\n"
        "print(symbol_by_name('aiohttp.client:ClientSession').__module__)\n"
    )
    assert lines(program) == ["2", "True []", "aiohttp.client"]


def test_ingest_is_no_faust_app() -> None:
    """It starts without Faust and what that brings: events and vital signs name a type of it, for the type checker."""
    program = f"import sys, {STAGES['ingest']}; print({{'aiohttp', 'faust', 'mode'}} & {{*sys.modules}})"
    assert lines(program) == ["set()"]


def test_aiohttp_that_is_there_is_kept() -> None:
    """Where a process has imported it, Faust's type is that one."""
    program = "import aiohttp; from pipeline import plain_faust; plain_faust.load(); from faust.types.web import {}"
    assert lines(program.format("HttpClientT; print(HttpClientT is aiohttp.ClientSession)")) == ["True"]


def test_httpx_is_whole() -> None:
    """Its own command line can be imported afterwards, by whoever wants it."""
    assert lines("from pipeline.plain_httpx import httpx; import httpx._main, rich; print(httpx.codes.OK)") == ["200"]


@pytest.mark.parametrize("enabled", [True, False])
def test_afterwards_it_is_as_it_was(enabled: bool) -> None:
    """Also after an import that fails; one that was off before, as an operator may wish it, stays off."""
    before = gc.isenabled()
    try:
        switch(enabled)
        with contextlib.suppress(ImportError), uncollected(), uncollected():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() is enabled
    finally:
        switch(before)


def test_what_was_made_is_old_and_still_collected() -> None:
    """Nothing made meanwhile is young, so that the next allocation walks nothing; its garbage is freed all the same."""
    gc.collect()
    with uncollected():
        made: list[object] = [Ring() for _ in range(1000)]
        gone = weakref.ref(made[0])
    old = {id(one) for one in gc.get_objects(generation=2)}
    assert all(id(one) in old for one in made)
    made.clear()
    gc.collect()
    assert gone() is None


class Ring:
    """Garbage that only the collector can find: it refers to itself."""

    def __init__(self) -> None:
        self.me = self


def switch(on: bool) -> None:
    """Turn the collector on or off."""
    if on:
        gc.enable()
    else:
        gc.disable()
