"""Neural vocoders trained on the corpus' train speakers, with their weights.

`networks` defines them, `train` trains them on what `speech` writes, `quality` measures them.
"""
