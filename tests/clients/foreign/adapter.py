"""What the clients in Python share: the lines of foreign.py, in and out."""

import sys


def say(*words):
    print(*words, flush=True)


def serve(client):
    """Calls `client.NAME(ARGUMENT...)` for each line. Payloads come as bytes."""
    for line in sys.stdin:
        name, *words = line.rstrip("\n").split(" ")
        if name == "open":
            client.open(words[0], words[1].split(",") if len(words) > 1 else [])
        elif name == "close":
            client.close(int(words[0]), bytes.fromhex(words[1]).decode())
        else:
            getattr(client, name)(*(bytes.fromhex(word) for word in words))
