"""What an encoder shows of its images without a label: near-duplicates, outliers, clusters, and its own state.

``search`` puts it together; one file for each kind of finding, ``words`` for what is said of them.
"""
