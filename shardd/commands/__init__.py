"""What one can ask for: functions from (host, principal, arguments) to a result, and their grammar."""
