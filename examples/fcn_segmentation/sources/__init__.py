"""Where pictures with labels come from: one module per source, each with a `load` that gives a `DataSet`."""
