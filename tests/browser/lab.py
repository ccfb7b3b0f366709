"""JupyterLab as a user has it: a server of its own, and notebooks driven through the page."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import papermill
import psutil
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, expect

from aasist_lib.runtime.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
VIEWPORT = {"width": 1280, "height": 900}
FRAME = 140
"""Pixels above and below the notebook: menus, toolbar, status line."""
UPLOAD_MB = 220
"""What the server takes as an upload; `make lab` lets it take more."""
START, RUN = 120, 900
"""Seconds after which a server that does not answer, or a notebook that does not end, is a failure."""
SILENT = '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}'
"""Settings without which JupyterLab asks at its first start whether to fetch news."""

expect.set_options(timeout=30_000)


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, str]]:
    """A JupyterLab of this interpreter on the project, with all its state in `folder`; gives its address and token.

    It ends with the block, with all its kernels. Were this process killed, it would end by itself once nothing runs.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, log = secrets.token_hex(16), folder / "server.log"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "jupyterlab", *_options(port, token)]
        server = psutil.Popen(command, cwd=ROOT, env=_environment(folder), stdout=stream, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(server, f"{address}/api/status?token={token}", log)
        yield address, token
    finally:
        _end(server)


def _options(port: int, token: str) -> list[str]:
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0, "ServerApp.root_dir": ROOT,
        "ServerApp.open_browser": False, "ServerApp.allow_root": True, "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True, "LabApp.extension_manager": "readonly",
        "ServerApp.tornado_settings": f"{{'websocket_max_message_size': {UPLOAD_MB}_000_000}}",
        "ServerApp.shutdown_no_activity_timeout": 900, "MappingKernelManager.cull_idle_timeout": 900,
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in options.items()]


def _environment(folder: Path) -> dict[str, str]:
    """This environment, live and not headless, with none of the user's Jupyter settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AASIST_", "JUPYTER", "MPLBACKEND"))}
    config = folder / "config"
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "default_setting_overrides.json").write_text(SILENT, encoding="utf-8")
    places = {
        "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython",
    }  # fmt: skip
    return kept | {name: str(folder / place) for name, place in places.items()} | {"AASIST_UPLOAD_MB": str(UPLOAD_MB)}


def _wait(server: psutil.Popen, address: str, log: Path) -> None:
    limit = time.monotonic() + START
    while time.monotonic() < limit and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (URLError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _end(server: psutil.Popen) -> None:
    """Ask the server to stop its kernels and itself, and kill what is left."""
    family = [server, *server.children(recursive=True)] if server.is_running() else []
    if family:
        server.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=20)
    for process in left:
        process.kill()
    server.wait()


@dataclass
class Lab:
    """A running JupyterLab and the run whose notebooks it shows."""

    browser: Browser
    address: str
    token: str
    run: RunFolder

    @contextmanager
    def opened(self, name: str, **values: object) -> Iterator[Notebook]:
        """A notebook of the project, opened live with these parameters and run from its first cell to its last.

        Args:
            name: '02_augmentation'. What runs is a copy beside the run folder, which shows as much as a user's own would.
            **values: of its parameters, besides the profile and the run folder.
        """
        copy = self.run.folder.parent / f"{name}.ipynb"
        values = {"PROFILE": self.run.folder.name, "SET": f"run_dir={self.run.folder}"} | values
        papermill.execute_notebook(ROOT / "notebooks" / copy.name, copy, values, prepare_only=True, progress_bar=False)
        page = self.browser.new_page(viewport=VIEWPORT)
        try:
            notebook = Notebook(page, name)
            page.goto(f"{self.address}/lab/tree/{copy.relative_to(ROOT)}?token={self.token}&reset")
            notebook.run_all()
            yield notebook
        finally:
            page.close()


@dataclass
class Notebook:
    """A notebook in a page: what it holds, what it shows, and everything that went wrong."""

    page: Page
    name: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        watch(self.page, self.problems, "http://127.0.0.1:")
        self.page.expose_function("kernelFailed", lambda error: self.problems.append(f"kernel: {error}"))

    def run_all(self) -> None:
        """Choose 'Run All Cells' from the menu, and wait until the last code cell has run or one has failed.

        Raises:
            AssertionError: a cell failed; names it.
        """
        self.page.wait_for_function(f"() => {{ {STATE} return kernel === 'idle' && codes.length > 0 }}", timeout=1e3 * START)
        self.page.evaluate(LISTEN)
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        ended = "codes.every(cell => cell.count) && kernel === 'idle' || codes.some(cell => cell.errors.length)"
        self.page.wait_for_function(f"() => {{ {STATE} return {ended} }}", timeout=1e3 * RUN)
        errors = [error for cell in self.codes() for error in cell["errors"]]
        assert not errors, f"{self.name}: {errors[0]}"

    def codes(self) -> list[Mapping[str, object]]:
        """Its code cells from the first to the last: `source`, execution `count`, `outputs` and `errors`."""
        return self.page.evaluate(f"() => {{ {STATE} return codes }}")

    def output(self, holding: str) -> Locator:
        """The output of the only cell whose output holds an element of this CSS selector."""
        output = self.page.locator(f".jp-CodeCell .jp-OutputArea:has({holding})")
        expect(output).to_have_count(1)
        output.scroll_into_view_if_needed()
        return output

    def screenshot(self, output: Locator, file: Path) -> None:
        """Save the window with an output in it, whole: it is made taller for that where needed."""
        box = output.bounding_box()
        assert box, f"{self.name}: the output is not drawn"
        self.page.set_viewport_size(VIEWPORT | {"height": max(VIEWPORT["height"], round(box["height"]) + FRAME)})
        output.evaluate("element => element.scrollIntoView({block: 'start'})")
        self.page.screenshot(path=file)
        self.page.set_viewport_size(VIEWPORT)


STATE = """
const panel = window.jupyterapp?.shell.currentWidget;
const kernel = panel?.sessionContext?.session?.kernel?.status;
const codes = (panel?.content?.widgets ?? []).map(cell => cell.model).filter(model => model?.type === 'code').map(model => {
    const outputs = model.outputs.toJSON();
    const errors = outputs.filter(output => output.output_type === 'error').map(error => `${error.ename}: ${error.evalue}`);
    return {source: model.sharedModel.getSource(), count: model.executionCount, outputs: outputs.length, errors};
});
"""
"""JavaScript that reads `kernel` and `codes` from JupyterLab's own model: the page attaches only the cells near the view."""


LISTEN = """() => window.jupyterapp.shell.currentWidget.sessionContext.iopubMessage.connect((sender, message) => {
    if (message.header.msg_type === 'error') kernelFailed(`${message.content.ename}: ${message.content.evalue}`);
})"""
"""JavaScript that tells `kernelFailed` of every exception: one in a widget's callback is shown nowhere on the page."""


def watch(page: Page, problems: list[str], home: str) -> None:
    """Collect what goes wrong in a page: errors on its console, exceptions, failed requests, and requests that leave `home`."""

    def console(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(f"console: {message.text} ({message.location.get('url', '')})")

    def asked(request: Request) -> None:
        if not request.url.startswith((home, "data:", "blob:")):
            problems.append(f"leaves {home}: {request.url}")

    def answered(response: Response) -> None:
        if response.status >= 400:
            problems.append(f"HTTP {response.status}: {response.request.method} {response.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
    page.on("request", asked)
    page.on("response", answered)
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}: {request.failure}"))


def control(place: Locator, name: str) -> Locator:
    """The widget of a place that carries this description, with its label and readout."""
    return place.locator(".widget-inline-hbox").filter(has=place.page.get_by_text(name, exact=True))


def press(place: Locator, key: str, times: int = 1) -> None:
    """Give a control the focus, and press a key."""
    place.focus()
    for _ in range(times):
        place.page.keyboard.press(key)


def picture_of(place: Locator) -> str:
    """The source of the only picture in a place, once it is drawn."""
    picture = place.locator("img")
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 0, "the picture cannot be drawn"
    return picture.get_attribute("src") or ""


def seconds_of(player: Locator) -> float:
    """The length of what a player plays, as the browser itself decoded it."""
    player.evaluate("audio => { audio.preload = 'auto'; audio.load() }")
    player.page.wait_for_function("audio => audio.error || audio.readyState >= 2", arg=player.element_handle())
    assert player.evaluate("audio => audio.error?.message ?? null") is None
    return player.evaluate("audio => audio.duration")
