"""A language model with nothing else installed: the models on disk, and the child process
that computes with them.

Stands at the level of core/providers (below core/turn): core/providers/local.py is its only user
inside the program, and it imports nothing above core/errors. `process` finds or starts an engine,
`keeper` is the child it starts, `models` knows the files, `download` fetches them (`package`
through pip), `machine` says what this computer can do, `tiny` computes a toy model.
"""
