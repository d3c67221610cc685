"""TLS for the Autobahn testsuite, which has none here: what connects is led on to a server by TLS.

    tunnel.py HOST:PORT AUTHORITY      prints `tunnel: ws://HOST:PORT`, where it listens

The server has to have a certificate of the authority for its address.
"""

import asyncio
import ssl
import sys


async def lead(reader, writer):
    """What comes from the one goes to the other, and so does its end."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        # The end of either side is the other's to tell.
        pass
    writer.close()


async def main(server, authority):
    host, port = server.rsplit(":", 1)
    context = ssl.create_default_context(cafile=authority)

    async def connected(reader, writer):
        from_server, to_server = await asyncio.open_connection(host, int(port), ssl=context)
        await asyncio.gather(lead(reader, to_server), lead(from_server, writer))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    print("tunnel: ws://%s:%d" % listener.sockets[0].getsockname(), flush=True)
    await listener.serve_forever()


asyncio.run(main(*sys.argv[1:]))
