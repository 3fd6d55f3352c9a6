"""From notebooks to a book: execute the chapters, render the site, write one-file reports."""
