"""The doors without a chat in the terminal, each a module with `run(settings)`:
one answer, lists, actions.
"""
