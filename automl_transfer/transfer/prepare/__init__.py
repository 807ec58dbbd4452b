"""What the source does with the target's images before labels are used."""
