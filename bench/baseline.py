"""A minimal streaming client for comparison: asks and prints, saves nothing, handles no failure.

    python bench/baseline.py http://127.0.0.1:11434 MODEL PROMPT [--no-tls]

--no-tls leaves out the trust store, which httpx2 reads also for http:// unless it is told not to.
"""

import asyncio
import json
import ssl
import sys

import httpx2


async def main(base: str, model: str, prompt: str, *flags: str) -> None:
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if "--no-tls" in flags else True
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    async with httpx2.AsyncClient(timeout=60, verify=verify) as client, \
            client.stream("POST", base + "/api/chat", json=body) as response:
        async for line in response.aiter_lines():
            sys.stdout.write(json.loads(line)["message"]["content"])
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
