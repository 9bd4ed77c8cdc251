"""Context: what the model is shown besides the conversation, and how it is chosen,
counted and written down.
"""
