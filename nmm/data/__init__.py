"""Data: documents of real or generated corpora, packed, stored, mixed and read back as batches.

A batch's path: `readers` -> `documents` -> `tokenizer` -> `packing` -> `store` -> `mixture` -> `loader`.
Only `loader` imports torch.
"""
