"""A separate JupyterLab server, and notebooks operated through its page as a user would."""

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
"""Height in pixels above and below the notebook: menus, toolbar, status line."""
UPLOAD_MB = 220
"""Upload limit of the server in MB; `make lab` sets a higher one."""
START, RUN = 120, 900
"""Timeouts in seconds for the server to answer and for a notebook to finish."""
SILENT = '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}'
"""Settings that stop JupyterLab from asking at its first start whether to fetch news."""

expect.set_options(timeout=30_000)


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, str]]:
    """Run JupyterLab with this interpreter on the project, with all its state in `folder`; yield its address and token.

    The server and its kernels stop at the end of the block. If this process is killed, the server stops itself when idle.
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
    """Return this environment, not headless, without the user's Jupyter settings."""
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
    """Ask the server to stop its kernels and itself, then kill remaining processes."""
    family = [server, *server.children(recursive=True)] if server.is_running() else []
    if family:
        server.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=20)
    for process in left:
        process.kill()
    server.wait()


@dataclass
class Lab:
    """A running JupyterLab server and the run of its notebooks."""

    browser: Browser
    address: str
    token: str
    run: RunFolder

    @contextmanager
    def opened(self, name: str, **values: object) -> Iterator[Notebook]:
        """Open a notebook of the project live with these parameters and run all its cells.

        Args:
            name: such as '02_augmentation'. A copy next to the run folder is run.
            **values: parameter values besides the profile and the run folder.
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
    """A notebook in a page: its cells, its outputs, and all errors."""

    page: Page
    name: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        watch(self.page, self.problems, "http://127.0.0.1:")
        self.page.expose_function("kernelFailed", lambda error: self.problems.append(f"kernel: {error}"))

    def run_all(self) -> None:
        """Choose 'Run All Cells' from the menu, and wait until all code cells have run or one has failed.

        Raises:
            AssertionError: a cell failed; the message has its error.
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
        """Return its code cells in order: `source`, execution `count`, `outputs` and `errors`."""
        return self.page.evaluate(f"() => {{ {STATE} return codes }}")

    def output(self, holding: str) -> Locator:
        """Return the output of the only cell whose output contains an element of this CSS selector."""
        output = self.page.locator(f".jp-CodeCell .jp-OutputArea:has({holding})")
        expect(output).to_have_count(1)
        output.scroll_into_view_if_needed()
        return output

    def screenshot(self, output: Locator, file: Path) -> None:
        """Save a screenshot of the window with the complete output; the window is enlarged if needed."""
        box = output.bounding_box()
        assert box, f"{self.name}: the output is not rendered"
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
"""JavaScript that reads `kernel` and `codes` from JupyterLab's model, because the page attaches only cells near the view."""


LISTEN = """() => window.jupyterapp.shell.currentWidget.sessionContext.iopubMessage.connect((sender, message) => {
    if (message.header.msg_type === 'error') kernelFailed(`${message.content.ename}: ${message.content.evalue}`);
})"""
"""JavaScript that reports every exception to `kernelFailed`; the page does not show exceptions in widget callbacks."""


def watch(page: Page, problems: list[str], home: str) -> None:
    """Collect a page's problems: console errors, exceptions, failed requests, and requests outside `home`."""

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
    """Return the widget with this description, including its label and readout."""
    return place.locator(".widget-inline-hbox").filter(has=place.page.get_by_text(name, exact=True))


def press(place: Locator, key: str, times: int = 1) -> None:
    """Focus a control and press a key."""
    place.focus()
    for _ in range(times):
        place.page.keyboard.press(key)


def picture_of(place: Locator) -> str:
    """Return the source of the only picture in a place, after it has been rendered."""
    picture = place.locator("img")
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 0, "the picture cannot be rendered"
    return picture.get_attribute("src") or ""


def seconds_of(player: Locator) -> float:
    """Return the duration of a player's audio as decoded by the browser."""
    player.evaluate("audio => { audio.preload = 'auto'; audio.load() }")
    player.page.wait_for_function("audio => audio.error || audio.readyState >= 2", arg=player.element_handle())
    assert player.evaluate("audio => audio.error?.message ?? null") is None
    return player.evaluate("audio => audio.duration")
