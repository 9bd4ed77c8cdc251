"""The page: the same chats in a browser, their API, and the OpenAI-compatible API."""
