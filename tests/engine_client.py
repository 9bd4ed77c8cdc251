"""A client of the engine in its own process, to be killed: creates the model if needed, attaches,
and asks endlessly.
"""

from __future__ import annotations

import asyncio
import os
import sys

import httpx2

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


async def main(model: str, directory: str) -> None:
    from core.engine.process import EngineOrder, open_engine
    from core.engine.tiny import write_tiny_model
    if not os.path.exists(model):
        write_tiny_model(model)
    engine = await open_engine(EngineOrder(model, directory, 2048))
    print(engine.address, engine.pid, flush=True)
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 5000,
            "ignore_eos": True}
    headers = {"authorization": f"Bearer {engine.key}", "connection": "close"}
    async with httpx2.AsyncClient(trust_env=False, headers=headers) as client:
        while True:
            async with client.stream("POST", engine.address + "/v1/chat/completions",
                                     json=body) as response:
                async for _ in response.aiter_bytes():
                    pass


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
