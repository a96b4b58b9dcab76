"""What is not as Keyturn left it: rows changed outside it, and an restored older database."""
