"""Networks: who has which address, and by which names."""
