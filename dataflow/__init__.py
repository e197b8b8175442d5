"""Hold the vocabulary: layers and graph, number formats, sparsity formats, Program."""

if __name__ == "dataflow":
    raise ImportError("import gossamer.dataflow, not dataflow: the rooms are sub-packages of gossamer")
