-- Whoever archives a unit ends its hooks and waits for nothing else: what was to be delivered to them may be a million
-- rows, and is ended afterwards, in parts.
create or replace function zapline.end_hooks() returns trigger language plpgsql as $$
begin
    update zapline.hooks set disabled_at = now(), disabled_reason = 'unit_archived'
     where unit_id = new.id and disabled_at is null;
    return null;
end
$$;
