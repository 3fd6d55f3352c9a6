"""Data: documents of real or generated corpora, packed, stored, mixed and read back as batches.

Writing: `readers` -> `clean` -> `documents` -> `tokenizer` -> `packing` -> `write` -> `store`; `prepare` runs it over
files.
Reading: `store` -> `mixture` -> `loader`. Only `loader` imports torch.
"""
