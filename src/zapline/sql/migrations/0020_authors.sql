-- Who may change a message: whoever claims its id in another chat, or for another author, changes nothing.

-- The decision of zapline.domain.messages.authority, which a test compares with it. Null: not before more is known.
create function zapline.may_change(change text, same_chat boolean, same_author boolean, from_me boolean, mine boolean,
                                   in_group boolean, proven boolean) returns boolean
    language sql immutable parallel safe
return case
    when same_chat is false then false
    when change = 'react' or (change = 'delete' and in_group) then case when proven then same_chat end
    when from_me <> mine then false
    when not proven and (mine or in_group) then null
    when change = 'status' then mine or same_chat
    when mine then case when from_me then true end
    when same_chat is null then null
    when not in_group then true
    else same_author end;

-- Whether two contacts are one person or chat; null where one is known by a LID and the other by a phone, and nothing
-- has linked them yet. `kind`: of the first, where it has no row: p phone, l LID, o other.
create function zapline.same_contact(one uuid, kind text, other uuid) returns boolean
    language plpgsql stable as $$
declare
    one_root uuid := one;
    other_root uuid := other;
    one_kind text := kind;
    other_kind text;
begin
    if one = other then
        return true;
    elsif one is null or other is null then
        return null;
    end if;
    select k.id, case when k.canonical like 'lid:%' then 'l' when k.canonical like '+%' then 'p' else 'o' end
      into one_root, one_kind
      from zapline.contacts c
      left join zapline.conversations v on v.contact_id = c.id and v.unit_id = c.unit_id
      left join zapline.conversations r on r.id = v.merged_into
      join zapline.contacts k on k.id = coalesce(r.contact_id, c.id)
     where c.id = one;
    if not found then
        one_root := one;
        one_kind := kind;
    end if;
    select k.id, case when k.canonical like 'lid:%' then 'l' when k.canonical like '+%' then 'p' else 'o' end
      into other_root, other_kind
      from zapline.contacts c
      left join zapline.conversations v on v.contact_id = c.id and v.unit_id = c.unit_id
      left join zapline.conversations r on r.id = v.merged_into
      join zapline.contacts k on k.id = coalesce(r.contact_id, c.id)
     where c.id = other;
    return case when one_root = other_root then true
                when (one_kind, other_kind) in (('l', 'p'), ('p', 'l')) then null
                else false end;
end
$$;

-- Whether a report may change a message. `claim`: who reports it, as JSON (zapline.sql.inbound.authorship); empty: our
-- own side.
create function zapline.fits(claim text, unit uuid, conversation uuid, mine boolean, sender text) returns boolean
    language plpgsql stable as $$
declare
    c jsonb;
    chat uuid;
    in_group boolean;
    author boolean := true;
begin
    if claim = '' then
        return true;
    end if;
    c := claim::jsonb;
    select v.contact_id, k.kind = 'group' into chat, in_group
      from zapline.conversations v join zapline.contacts k on k.id = v.contact_id where v.id = conversation;
    if in_group and sender is not null then
        author := zapline.same_contact((c ->> 'author')::uuid, c ->> 'authorKind',
            (select k.id from zapline.contacts k where k.unit_id = unit and k.canonical = sender));
    end if;
    return zapline.may_change(
        c ->> 'change',
        case when c ->> 'chat' is null then true
             else zapline.same_contact((c ->> 'chat')::uuid, c ->> 'chatKind', chat) end,
        author, (c ->> 'fromMe')::boolean, mine, in_group, (c ->> 'proven')::boolean);
end
$$;

-- The same of a message that comes again.
create function zapline.same_origin(unit uuid, conversation uuid, from_me boolean, sender text,
                                    stored_conversation uuid, mine boolean, stored_sender text) returns boolean
    language plpgsql stable as $$
declare
    chat uuid;
    stored_chat uuid;
    in_group boolean;
    author boolean := true;
begin
    select v.contact_id, k.kind = 'group' into stored_chat, in_group
      from zapline.conversations v join zapline.contacts k on k.id = v.contact_id where v.id = stored_conversation;
    if conversation = stored_conversation then
        chat := stored_chat;
    else
        select v.contact_id into chat from zapline.conversations v where v.id = conversation;
    end if;
    if in_group and sender <> stored_sender then
        author := zapline.same_contact(
            (select k.id from zapline.contacts k where k.unit_id = unit and k.canonical = sender), 'o',
            (select k.id from zapline.contacts k where k.unit_id = unit and k.canonical = stored_sender));
    end if;
    return zapline.may_change('again', zapline.same_contact(chat, 'o', stored_chat), author, from_me, mine, in_group,
                              true);
end
$$;

-- Reports of different people about one unknown message wait side by side.
alter table zapline.parked_reports
    add column claim text not null default '',
    -- When it was last compared in vain with its message.
    add column tried_at timestamptz,
    drop constraint parked_reports_pkey,
    add primary key (unit_id, provider, external_id, claim);
alter table zapline.message_reactions add column claim text not null default '';

-- Digests of webhook secrets that were replaced, until Evolution is known to deliver to the newest address.
alter table zapline.unit_whatsapp_connections add column earlier_secret_digests bytea[] not null default '{}';
