"""Lists: paging, filters, columns, exports, and rows."""
