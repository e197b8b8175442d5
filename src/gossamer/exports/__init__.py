"""Write configs the way other tools read them."""
