"""`glipv2 demo`: a page in a browser to try a model on."""
