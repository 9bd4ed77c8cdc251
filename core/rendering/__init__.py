"""Shows a reply in a terminal while it streams.

markdown.MarkdownStream(write, size, *, color=True)             formats Markdown
thinking.ThinkingStream(write, width, *, folded, color=True)    a model's thinking: set apart, or
                                                                folded to a line with a word count
plain.PlainStream(write, width=None, *, color=False)            the unformatted text, made safe

`write` is called with strings for the terminal; `width` and `height` return its size and are called
for every frame. All have the same three methods:

feed(text)      show one frame of raw text from the model
status(text)    show a line below the text until the next frame or the end; a PlainStream needs a
                width for it
finish()        end the reply, wherever it stopped: everything is shown, followed by one newline

A stream begins in the first column. Until finish() nothing else may write to the terminal: the
cursor stays at the end of the text, with no style active. The result does not depend on how the
text is split into frames.
"""
