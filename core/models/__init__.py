"""Which model answers: what each can do, whether it is there, what stands in for it,
and how much of a prompt it takes.
"""
