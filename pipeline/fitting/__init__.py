"""`fit`: the whole way from data to a scored head, in one folder."""
