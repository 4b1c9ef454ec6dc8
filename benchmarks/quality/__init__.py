"""Detection quality: false alarms within the budget first, then power, names, honesty and cost (Q1 to Q13)."""
