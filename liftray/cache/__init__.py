"""The frozen prefix's hidden states on disk: the key that names them and the store that holds them."""
