"""DecisionLog, what implements it on this machine, and what is made of whole logs."""
