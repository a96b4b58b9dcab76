"""What a principal may do: documents, decisions, the same as SQL, grants, and who reaches what."""
