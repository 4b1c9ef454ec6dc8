"""TLS, SASL and permissions, on a real broker that demands them."""
