"""Pages in Chromium, through a proxy."""

import asyncio
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parent / "../browser"
# HTTP/2, at a port of its own: in place of the line that has the proxy listen.
NGINX_TLS = """listen 80;
        listen 127.0.0.1:9443 ssl http2;
        ssl_certificate tls.pem;
        ssl_certificate_key tls.pem.key;"""
HAPROXY_TLS = "bind :80\n    bind 127.0.0.1:9443 ssl crt tls.pem alpn h2,http/1.1"


def certify(folder):
    """Makes the certificate that these name, which nobody else believes."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -keyout tls.pem.key -out tls.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


async def runs(script, *arguments):
    """Prints a line for each check."""
    node = await asyncio.create_subprocess_exec("node", SCRIPTS / script, *arguments)
    try:
        assert await node.wait() == 0, "see above"
    finally:
        if node.returncode is None:
            node.terminate()
            await node.wait()


async def own(world):
    """The README's snippet and the server's page."""
    await runs("snippet.mjs", f"http://127.0.0.1:{world.port}/")


async def many_streams(world):
    """Ten of one page: all at once over HTTP/2, and six over HTTP/1.1."""
    for base in (f"https://127.0.0.1:{world.tls_port}", f"http://127.0.0.1:{world.port}"):
        await runs("streams.mjs", base, f"http://127.0.0.1:{world.server_port}")
