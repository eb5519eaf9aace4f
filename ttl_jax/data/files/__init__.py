"""Image files: decoding, encoding, folders of them."""
