"""nmm: scaling laws of native multimodal models, retrained, refitted and checked.

Data flows one way: config, data, models, train, runs, laws, charts, notebooks, book. Importing this
package, or `nmm.laws`, imports neither torch nor Composer.
"""

__version__ = "0.1.0"
