"""Files on disk and the documents they become: walk a tree, cut each file, keep an index in step."""
