"""The web page: chats in a browser, its API, and the OpenAI-compatible API."""
