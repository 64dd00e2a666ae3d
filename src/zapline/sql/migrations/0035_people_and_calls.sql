-- Contacts, groups and calls are told of by events of their own.

-- Names, usernames, phones and LIDs of contacts, and subjects of groups, once they have changed. Who is new is told of by
-- his message.
create function zapline.tell_contacts() returns trigger language plpgsql as $$
begin
    if zapline.anybody_listens() and exists (select from later) then
        perform zapline.tell(array_agg(
            (n.unit_id, case n.kind when 'group' then 'group.changed' else 'contact.changed' end, n.id, null,
             null)::zapline.news order by n.id))
           from later n
           join earlier o on o.id = n.id
          where (n.name, n.username, n.phone, n.lid) is distinct from (o.name, o.username, o.phone, o.lid);
    end if;
    return null;
end
$$;
create trigger tell_contacts after update on zapline.contacts
    referencing old table as earlier new table as later for each statement execute function zapline.tell_contacts();

-- A call, and whatever becomes of it.
create function zapline.tell_calls() returns trigger language plpgsql as $$
begin
    if zapline.anybody_listens() and exists (select from fresh where kind = 'call_log') then
        perform zapline.tell(array_agg(
            (f.unit_id, 'call.changed', f.id, null,
             case when f.origin = 'live' and not f.backfilled then null else f.sent_at end)::zapline.news order by f.seq))
           from fresh f where f.kind = 'call_log';
    end if;
    return null;
end
$$;
create trigger tell_calls after insert on zapline.messages
    referencing new table as fresh for each statement execute function zapline.tell_calls();
create function zapline.tell_changed_call() returns trigger language plpgsql as $$
begin
    perform zapline.tell(array[(new.unit_id, 'call.changed', new.id, null, null)::zapline.news]);
    return null;
end
$$;
create trigger tell_changed_call after update on zapline.messages
    for each row when (new.kind = 'call_log' and new.deleted_at is null and new.detail is distinct from old.detail)
    execute function zapline.tell_changed_call();
