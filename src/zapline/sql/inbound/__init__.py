"""The recorder's transaction: messages, statuses, echoes, send results, opt-outs and dead letters.

Imports campaigns and postgres; imported by conversations, supervisors and http."""
