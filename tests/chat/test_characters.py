"""Characters whose halves arrive in different pieces of a reply."""

from core.chat.characters import WholeCharacters
from core.events import Delta, Finished, TextDelta, ThinkingDelta

DONE = Finished("stop")


def read(*deltas: Delta) -> list[Delta]:
    characters = WholeCharacters()
    return [whole for delta in deltas for whole in characters.feed(delta)] + list(characters.rest())


def test_halves_in_neighbouring_pieces_are_one_character() -> None:
    assert read(TextDelta("a\ud83d"), TextDelta("\ude00b"), DONE) == [TextDelta("a"),
                                                                      TextDelta("😀b"), DONE]
    assert read(TextDelta("\ud83d"), TextDelta(""), TextDelta("\ude00")) == [TextDelta("😀")]


def test_a_half_alone_is_replaced() -> None:
    assert read(TextDelta("\ud83d"), DONE) == [TextDelta("\ufffd"), DONE]
    assert read(TextDelta("\ude00x")) == [TextDelta("\ufffdx")]
    assert read(TextDelta("\ud83d"), TextDelta("x")) == [TextDelta("\ufffdx")]
    assert read(ThinkingDelta("\ud83d"), TextDelta("\ude00")) == [ThinkingDelta("\ufffd"),
                                                                  TextDelta("\ufffd")]
