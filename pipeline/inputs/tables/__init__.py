"""Tables as inputs: the data files of one version of a Delta Lake or Iceberg table."""
