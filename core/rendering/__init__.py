"""What a reply looks like in a terminal, while it streams.

markdown.MarkdownStream(write, width, height, *, color=True)    Markdown
thinking.ThinkingStream(write, width, *, folded, color=True)    a model's thinking: set apart,
                                                                or one line that counts
plain.PlainStream(write, width=None, *, color=False)            the text as it is, made safe

`write` takes a string for the terminal; `width` and `height` are asked at every frame. Each
has the same three methods:

feed(text)      one frame of raw text from the model
status(text)    a line of ours below what is shown until the next frame or the end; a
                PlainStream needs a width for it
finish()        the end of the reply, wherever it stopped: everything is shown,
                with one newline at its end

A stream begins in the first column. Until finish() nobody else may write to the terminal: the
cursor stays at the end of what is shown, with no style in force. The result never depends on how
the text was cut into frames.
"""
