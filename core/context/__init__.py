"""Context: the material that is sent besides the conversation, and how it is loaded, chosen and
formatted.
"""
