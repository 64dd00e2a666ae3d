-- Whoever deletes a conversation asks first what still refers to it: without these, all that was ever sent was read
-- for each one.

create index outbox_by_conversation on zapline.outbox (conversation_id);
create index attempts_by_conversation on zapline.attempts (conversation_id);
create index sightings_by_conversation on zapline.sightings (conversation_id);
