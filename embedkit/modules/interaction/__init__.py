"""From field vectors to one logit a record."""
