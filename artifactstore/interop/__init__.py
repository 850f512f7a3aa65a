"""Doors for other programs: each module speaks the language of one of them."""
