"""The minimum for a streaming client in Python: a socket without an HTTP library, saving nothing
and handling no failure.

    python bench/raw_socket.py http://127.0.0.1:11434 MODEL PROMPT
"""

import json
import socket
import sys


def main(base: str, model: str, prompt: str) -> None:
    host, port = base.removeprefix("http://").split(":")
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()
    with (socket.create_connection((host, int(port))) as connection,
          connection.makefile("rb") as answer):
        connection.sendall(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
                           b"\r\n" % len(body) + body)
        while answer.readline().strip():
            pass
        while size := int(answer.readline(), 16):
            for line in answer.read(size).splitlines():
                sys.stdout.write(json.loads(line)["message"]["content"])
                sys.stdout.flush()
            answer.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
