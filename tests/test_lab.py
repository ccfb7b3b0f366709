"""JupyterLab as `make lab` starts it: nobody but the one who has the token, and nobody from another machine."""

from __future__ import annotations

import ast
import asyncio
import ipaddress
import json
import os
import shlex
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

ROOT = Path(__file__).parents[1]
START = 120
"""Seconds after which a server that is not there is a failure."""


def command(extra: str = "") -> list[str]:
    """What `make lab` runs in the end, without the variables that it sets before."""
    environment = os.environ | {"MAKEFLAGS": ""}  # these tests may run under make themselves
    asked = ["make", "--no-print-directory", "--dry-run", "lab", f"LAB={extra}"]
    done = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return [word for word in shlex.split(done.stdout.splitlines()[-1]) if not word.startswith("AASIST_")]


@dataclass(frozen=True)
class Server:
    """A running server: its process, and what it wrote about itself for its user's other programs."""

    process: psutil.Process
    note: Path

    def fact(self, name: str) -> str:
        """'token' or another value of the note."""
        return json.loads(self.note.read_text(encoding="utf-8"))[name]

    def status(self, path: str, method: str = "GET", **headers: str) -> int:
        """The HTTP status of a request to it."""
        connection = HTTPConnection("127.0.0.1", int(self.fact("port")), timeout=30)
        connection.request(method, path, headers=headers)
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of `make lab`, without the user's own settings, on a free port and without opening a browser."""
    folder = tmp_path_factory.mktemp("jupyter")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _, *arguments = command(f"--ServerApp.open_browser=False --ServerApp.port={port} --ServerApp.port_retries=0")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    with (folder / "log").open("wb") as log:
        process = psutil.Popen([sys.executable, *arguments], cwd=ROOT, env=kept | places, stdout=log, stderr=log)
    try:
        limit, notes = time.monotonic() + START, folder / "runtime"
        while process.poll() is None and time.monotonic() < limit and not _answers(port):
            time.sleep(0.2)
        (note,) = notes.glob("jpserver-*.json")
        yield Server(process, note)
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_no_flag_of_it_weakens_the_server() -> None:
    flags = {argument.partition("=")[0] for argument in command()}
    assert {flag for flag in flags if flag.startswith("-")} <= {
        "-m", "--ServerApp.root_dir", "--LabApp.default_url", "--ServerApp.tornado_settings", "--allow-root",
    }  # fmt: skip


def test_it_takes_uploads_of_hundreds_of_megabytes_and_says_so_to_the_explorers() -> None:
    line = subprocess.run(["make", "--no-print-directory", "--dry-run", "lab"], cwd=ROOT, capture_output=True, text=True).stdout
    words = shlex.split(line.splitlines()[-1])
    (told,) = (int(word.partition("=")[2]) for word in words if word.startswith("AASIST_UPLOAD_MB="))
    (settings,) = (word.partition("=")[2] for word in words if word.startswith("--ServerApp.tornado_settings="))
    taken = ast.literal_eval(settings)["websocket_max_message_size"]
    assert 200e6 <= told * 1e6 <= taken


def test_a_message_of_two_hundred_megabytes_reaches_the_kernel(server: Server) -> None:
    """An upload is one: tornado's own limit of 10 MB would close the connection."""
    sent = b"x" * 210_000_000
    assert asyncio.run(_bytes_received(server, sent)) == len(sent)


async def _bytes_received(server: Server, sent: bytes) -> int:
    """How many bytes a kernel finds in the buffer of a message, sent as a notebook's page sends an upload."""
    address, token = f"127.0.0.1:{server.fact('port')}", f"token {server.fact('token')}"
    headers = {"Authorization": token}
    started = await AsyncHTTPClient().fetch(f"http://{address}/api/kernels", method="POST", body="{}", headers=headers)
    kernel = json.loads(started.body)["id"]
    request = HTTPRequest(f"ws://{address}/api/kernels/{kernel}/channels", headers=headers)
    connection = await websocket_connect(request, max_message_size=2**30)
    code = "print(len(get_ipython().kernel.get_parent('shell')['buffers'][0]))"
    header = {"msg_id": "upload", "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3", "date": ""}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    text = json.dumps(message).encode()
    offsets = (2, 12, 12 + len(text))  # how many parts, and where each begins
    await connection.write_message(struct.pack("!3I", *offsets) + text + sent, binary=True)
    while (answer := await connection.read_message()) is not None:
        found = json.loads(answer) if isinstance(answer, str) else {}
        if found.get("msg_type") == "stream" and found["parent_header"].get("msg_id") == "upload":
            connection.close()
            return int(found["content"]["text"])
    raise AssertionError("the server closed the connection")


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    family = [server.process, *server.process.children(recursive=True)]
    listening = [each.laddr.ip for one in family for each in one.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert listening and all(ipaddress.ip_address(address).is_loopback for address in listening), listening


@pytest.mark.parametrize("method, path, refused", [
    ("GET", "/api/status", 403), ("GET", "/api/contents/README.md", 403), ("POST", "/api/kernels", 403),
    ("POST", "/api/terminals", 403), ("GET", "/files/README.md", 302), ("GET", "/lab", 302),
])  # fmt: skip
def test_a_request_without_the_token_is_refused(server: Server, method: str, path: str, refused: int) -> None:
    """302 leads to the page that asks for it."""
    assert server.status(path, method) == refused
    assert server.status(path, method, Authorization="token guess") == refused


def test_the_token_lets_in_and_is_the_user_s_own_secret(server: Server) -> None:
    assert server.status("/api/status", Authorization=f"token {server.fact('token')}") == 200
    assert len(server.fact("token")) >= 32 and server.fact("token") not in " ".join(server.process.cmdline())
    assert server.note.stat().st_mode & 0o077 == 0


def test_another_site_s_page_does_not_get_in_by_a_name_of_its_own(server: Server) -> None:
    """A name that its owner lets point to this machine; with the token all the same."""
    token = f"token {server.fact('token')}"
    assert server.status("/api/status", Authorization=token, Host="evil.example") == 403
