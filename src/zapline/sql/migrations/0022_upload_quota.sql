-- How much of a unit's uploads is kept is counted with each new one.

create index uploads_by_unit on zapline.uploads (unit_id) include (size);
