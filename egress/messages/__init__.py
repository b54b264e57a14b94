"""The messages inside exchanges: bytes in, messages out."""
