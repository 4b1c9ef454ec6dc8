"""Time, drawn: what stands in each partition minute by minute, and under it what is judged when."""
