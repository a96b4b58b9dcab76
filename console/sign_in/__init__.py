"""How people sign in: by password, second factor or identity provider, and what is kept of it."""
