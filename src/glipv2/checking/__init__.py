"""What is looked at in data before it is trained on: findings with codes, counts, and pages that show them."""
