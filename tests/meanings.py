"""An Ollama whose embeddings count meanings: words with the same meaning count for the same number.
"""

from __future__ import annotations

from tests.fake_server import Answer, FakeOllama, Received, json_answer

MEANINGS = (("sign in", "log on", "credentials", "password"), ("people", "members"),
            ("road", "traffic"), ("sea", "tide", "wave"),
            ("bread", "flour"))
# Only the first is about what is asked, in other words; only the second has the
# words of the question.
QUESTION = "how do people sign in?"
FILES = {"access.txt": "Members log on with their credentials and a password of ten letters.\n",
         "roads.txt": "People saw the sign beside the road, and the traffic of the road went by.\n",
         "coast.txt": "The sea was calm, and each wave of the tide came slowly up the beach.\n",
         "kitchen.txt": "Take the flour and make bread of it, as it has been made for long.\n"}


def meaning(text: str) -> list[float]:
    lowered = text.lower()
    return [float(sum(lowered.count(word) for word in words)) for words in MEANINGS] + [0.001]


def make_files(folder: str, lines: int = 70) -> dict[str, str]:
    """Texts of which only one fits in a window of 4,096 tokens."""
    return {f"{folder}/{name}": text * lines for name, text in FILES.items()}


class Meanings(FakeOllama):
    """Every model provides embeddings."""

    def texts(self) -> list[str]:
        """All texts requested so far."""
        return [text for request in self.requests if request.path == "/api/embed"
                for text in request.json["input"]]

    def _route(self, request: Received) -> Answer:
        if request.path == "/api/embed":
            vectors = [self.vector(text) for text in request.json["input"]]
            return json_answer({"model": request.json["model"], "embeddings": vectors})
        return super()._route(request)

    def vector(self, text: str) -> list[float]:
        return meaning(text)
