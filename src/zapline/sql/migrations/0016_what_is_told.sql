-- Reactions, poll votes, edits and deletions are told to whoever polls; reactions and votes to the CRM's webhooks too.

-- A place in the order of arrival, of the same sequence as a message's own, taken anew with every change. Null: it came
-- before this migration.
alter table zapline.message_reactions add column seq bigint;
alter table zapline.message_reactions alter column seq set default nextval('zapline.messages_seq_seq');
-- Names it in a delivery; read by it, not by who reacted.
alter table zapline.message_reactions add column id uuid not null default gen_random_uuid();
-- Whether it was reported as it happened, not read from a history or from Evolution's store.
alter table zapline.message_reactions add column live boolean not null default false;
create index message_reactions_by_seq on zapline.message_reactions (unit_id, seq) where seq is not null;

alter table zapline.messages add column changed_seq bigint;
create index messages_by_change on zapline.messages (unit_id, changed_seq) where changed_seq is not null;

-- An edit, a deletion, content that came later; and a sent message's id of WhatsApp's, where it was reacted to before the
-- id was known.
create function zapline.count_change() returns trigger language plpgsql as $$
begin
    if old.external_id is distinct from new.external_id
       and old.edited_at_ms is not distinct from new.edited_at_ms
       and old.edit_unread_ms is not distinct from new.edit_unread_ms
       and not (old.deleted_at is null and new.deleted_at is not null) and old.kind_rank >= new.kind_rank
       and not exists (select from zapline.message_reactions x
                        where x.unit_id = new.unit_id and x.provider = new.provider
                          and x.external_id = new.external_id) then
        return new;
    end if;
    new.changed_seq := nextval('zapline.messages_seq_seq');
    return new;
end
$$;
create trigger count_change before update on zapline.messages
    for each row when (old.edited_at_ms is distinct from new.edited_at_ms
                       or old.edit_unread_ms is distinct from new.edit_unread_ms
                       or (old.deleted_at is null and new.deleted_at is not null)
                       or old.kind_rank < new.kind_rank or old.external_id is distinct from new.external_id)
    execute function zapline.count_change();

-- New and changed reactions and votes of known messages. What was not live is told where it happened after the hook was
-- made.
create function zapline.tell_reactions() returns trigger language plpgsql as $$
begin
    if exists (select from zapline.hooks where disabled_at is null) and exists (select from fresh) then
        insert into zapline.hook_deliveries (hook_id, unit_id, event, subject, facts)
        select h.id, h.unit_id, e.event, m.id, jsonb_build_object('reaction', x.id)
          from fresh x
          join zapline.messages m
            on m.unit_id = x.unit_id and m.provider = x.provider and m.external_id = x.external_id
         cross join lateral (select case x.kind when 'vote' then 'poll.vote' else 'message.reaction' end as event) e
          join zapline.hooks h on h.unit_id = x.unit_id and h.disabled_at is null and e.event = any(h.events)
         where x.live or x.at_ms >= extract(epoch from date_trunc('second', h.created_at)) * 1000
         order by x.seq;
    end if;
    return null;
end
$$;
create trigger tell_new_reactions after insert on zapline.message_reactions
    referencing new table as fresh for each statement execute function zapline.tell_reactions();

create function zapline.tell_changed_reactions() returns trigger language plpgsql as $$
begin
    if exists (select from zapline.hooks where disabled_at is null) and exists (select from later) then
        insert into zapline.hook_deliveries (hook_id, unit_id, event, subject, facts)
        select h.id, h.unit_id, e.event, m.id, jsonb_build_object('reaction', x.id)
          from later x
          join earlier o on o.id = x.id and o.value is distinct from x.value
          join zapline.messages m
            on m.unit_id = x.unit_id and m.provider = x.provider and m.external_id = x.external_id
         cross join lateral (select case x.kind when 'vote' then 'poll.vote' else 'message.reaction' end as event) e
          join zapline.hooks h on h.unit_id = x.unit_id and h.disabled_at is null and e.event = any(h.events)
         where x.live or x.at_ms >= extract(epoch from date_trunc('second', h.created_at)) * 1000
         order by x.seq;
    end if;
    return null;
end
$$;
create trigger tell_changed_reactions after update on zapline.message_reactions
    referencing old table as earlier new table as later
    for each statement execute function zapline.tell_changed_reactions();

-- Reactions and votes that came before their message.
create function zapline.tell_waiting_reactions(known uuid[]) returns void language sql as $$
    insert into zapline.hook_deliveries (hook_id, unit_id, event, subject, facts)
    select h.id, h.unit_id, e.event, m.id, jsonb_build_object('reaction', x.id)
      from unnest(known) as k(id)
      join zapline.messages m on m.id = k.id
      join zapline.message_reactions x
        on x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id
     cross join lateral (select case x.kind when 'vote' then 'poll.vote' else 'message.reaction' end as event) e
      join zapline.hooks h on h.unit_id = x.unit_id and h.disabled_at is null and e.event = any(h.events)
     where x.live or x.at_ms >= extract(epoch from date_trunc('second', h.created_at)) * 1000
     order by x.seq
$$;
create function zapline.tell_reactions_of_created() returns trigger language plpgsql as $$
begin
    if exists (select from zapline.hooks where disabled_at is null) and exists (select from fresh) then
        perform zapline.tell_waiting_reactions(
            (select array_agg(f.id) from fresh f
              where exists (select from zapline.message_reactions x
                             where x.unit_id = f.unit_id and x.provider = f.provider
                               and x.external_id = f.external_id)));
    end if;
    return null;
end
$$;
-- Its name sorts after tell_created: the message is told first.
create trigger tell_created_reactions after insert on zapline.messages
    referencing new table as fresh for each statement execute function zapline.tell_reactions_of_created();

create function zapline.tell_reactions_of_settled() returns trigger language plpgsql as $$
begin
    if exists (select from zapline.hooks where disabled_at is null) and exists (select from later) then
        perform zapline.tell_waiting_reactions(
            (select array_agg(n.id) from later n join earlier o on o.id = n.id
              where o.external_id is null and n.external_id is not null
                and exists (select from zapline.message_reactions x
                             where x.unit_id = n.unit_id and x.provider = n.provider
                               and x.external_id = n.external_id)));
    end if;
    return null;
end
$$;
create trigger tell_settled_reactions after update on zapline.messages
    referencing old table as earlier new table as later
    for each statement execute function zapline.tell_reactions_of_settled();
