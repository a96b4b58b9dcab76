"""An earlier version of Keyturn, as an upgrade meets it: a table lacks a column that is there now."""
