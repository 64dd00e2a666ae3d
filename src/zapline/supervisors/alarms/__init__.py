"""Alarms: watches lines and health, keeps the incidents, and tells people by e-mail, webhook or a sibling's line."""
